//! Why a request to CODO's API is refused, with that API's codes and messages.

use hyper::StatusCode;
use serde_json::json;
use warp::reply::Response;

use super::super::answer;
use super::super::fault::Fault;

/// A refusal: CODO's clients read `code`, people read `msg` and `detail`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CodoRefusal {
    pub(super) status: StatusCode,
    pub(super) code: i32,
    /// CODO's exact message, if it has one.
    pub(super) msg: String,
    /// What exactly is wrong, and how to fix it.
    pub(super) detail: String,
}

impl CodoRefusal {
    /// CODO responds with 200 whatever the code.
    fn coded(code: i32, msg: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::OK,
            code,
            msg: msg.into(),
            detail: detail.into(),
        }
    }

    /// With our own message, which includes the detail: CODO has none for this.
    fn with_text(code: i32, words: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::coded(code, format!("{words}: {detail}"), detail)
    }

    /// The body, or a text field, is malformed.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::with_text(-1, "请求内容有误", detail)
    }

    pub(super) fn no_template(detail: impl Into<String>) -> Self {
        Self::with_text(-2, "模板不存在", detail)
    }

    pub(super) fn other_groups(detail: impl Into<String>) -> Self {
        Self::coded(-3, "Host groupings and template groupings mismatch", detail)
    }

    pub(super) fn no_host(detail: impl Into<String>) -> Self {
        Self::coded(-4, "The exec host cannot be empty", detail)
    }

    pub(super) fn too_many_hosts(detail: impl Into<String>) -> Self {
        Self::coded(-4, "Too many hosts, please execute in groups", detail)
    }

    /// A value that the template does not accept.
    pub(super) fn unfit(detail: impl Into<String>) -> Self {
        Self::with_text(-5, "参数与模板不符", detail)
    }

    /// No project, environment or tag matches.
    pub(super) fn no_target(detail: impl Into<String>) -> Self {
        Self::with_text(-6, "项目或环境无法确定", detail)
    }

    /// The template exists, but names something that is not configured.
    pub(super) fn not_configured(detail: impl Into<String>) -> Self {
        Self::with_text(-7, "配置缺少模板所需的内容", detail)
    }

    pub(super) fn bad_address(detail: impl Into<String>) -> Self {
        Self::coded(5, "ip格式有误", detail)
    }

    pub(super) fn missing(detail: impl Into<String>) -> Self {
        Self::coded(6, "必要参数缺失", detail)
    }

    pub(super) fn csrf(detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::PAYMENT_REQUIRED,
            ..Self::coded(402, "csrf error.", detail)
        }
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            ..Self::with_text(403, "没有权限", detail)
        }
    }

    pub(super) fn response(&self) -> Result<Response, Fault> {
        let Self {
            status,
            code,
            msg,
            detail,
        } = self;
        answer::json(
            *status,
            &json!({ "code": code, "msg": msg, "detail": detail }),
        )
    }
}

impl From<Fault> for CodoRefusal {
    fn from(fault: Fault) -> Self {
        let status = fault.status();
        let words = match &fault {
            Fault::NotLoggedIn | Fault::BadToken => "没有登录",
            Fault::Forbidden(_) => "没有权限",
            Fault::TooLarge(_) => "请求内容过大",
            Fault::Broken(_) => "服务器内部错误",
            _ => "请求失败",
        };
        if let Fault::Broken(error) = &fault {
            tracing::error!(%error, "a request to CODO's API failed");
        }
        Self {
            status,
            ..Self::with_text(i32::from(status.as_u16()), words, fault.to_string())
        }
    }
}
