//! `POST /api/accounts/login/`: the login of CODO's API. It uses that API's messages and codes, so
//! that existing clients keep working. The key it issues is valid for that API only
//! ([`authentication::of_auth_key`]).

use std::sync::Arc;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::super::Site;
use super::super::answer::{self, HttpResult};
use super::super::call::Call;
use super::super::login_audit::LoginEndpoint;
use super::super::{authentication, text};
use crate::base::secret::ExposeSecret as _;
use crate::identity::account::{Account, Login, LoginError};

#[derive(Default, Deserialize)]
#[serde(default)]
struct LoginBody {
    username: Option<Text>,
    password: Option<Text>,
    /// The code of the second factor.
    dynamic: Option<Text>,
}

/// A string, or a number if the client converted an all-digit string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Text(String),
    Number(u64),
}

impl Text {
    fn given(text: Option<&Self>) -> String {
        match text {
            Some(Self::Text(text)) => text.clone(),
            Some(Self::Number(number)) => number.to_string(),
            None => String::new(),
        }
    }

    /// Returns the code; a number has lost its leading zeros, which are restored.
    fn code(&self) -> String {
        match self {
            Self::Text(text) => text.trim().to_owned(),
            Self::Number(number) => format!("{number:06}"),
        }
    }
}

/// Why a login is refused, by the codes of that API.
enum Refused {
    Empty,
    Wrong,
    CodeNeeded,
    WrongCode,
    TooMany(jiff::Timestamp),
}

pub(super) async fn log_in(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let body: Option<LoginBody> = call.loose_json(site.web.limits.body).await?;
    match verified(site, call, &body.unwrap_or_default()).await? {
        Ok(account) => {
            LoginEndpoint::Codo
                .completed(site, &account, authentication::address(site, call))
                .await?;
            give_key(site, &account).await
        }
        Err(refused) => refusal(site, &refused),
    }
}

async fn verified(
    site: &Arc<Site>,
    call: &Call,
    body: &LoginBody,
) -> Result<Result<Account, Refused>, super::super::fault::Fault> {
    let name = Text::given(body.username.as_ref());
    let name = name.trim().to_lowercase();
    let password = Text::given(body.password.as_ref());
    if name.is_empty() || password.is_empty() {
        return Ok(Err(Refused::Empty));
    }
    let accounts = &site.web.accounts;
    let address = authentication::address(site, call);
    let refused = async |error| {
        LoginEndpoint::Codo
            .refused(site, &name, address, &error)
            .await;
        match error {
            LoginError::Denied => Ok(Err(Refused::Wrong)),
            LoginError::WrongCode | LoginError::UsedCode => Ok(Err(Refused::WrongCode)),
            LoginError::TooMany(until) => Ok(Err(Refused::TooMany(until))),
            LoginError::Unavailable(error) => Err(error.into()),
        }
    };
    let account = match accounts
        .verify_password(&name, &password.into(), address)
        .await
    {
        Ok(Login::In(account)) => return Ok(Ok(account)),
        Ok(Login::CodeNeeded(account)) => account,
        Err(error) => return refused(error).await,
    };
    let code = body.dynamic.as_ref().map(Text::code).unwrap_or_default();
    if code.is_empty() {
        LoginEndpoint::Codo.no_code(site, &account, address).await;
        return Ok(Err(Refused::CodeNeeded));
    }
    match accounts.verify_code(&name, &code, address).await {
        Ok(account) => Ok(Ok(account)),
        Err(error) => refused(error).await,
    }
}

async fn give_key(site: &Site, account: &Account) -> HttpResult {
    let made = site.web.sessions.auth_key(account).await?;
    tracing::info!(user = %account.name, "user logged in for CODO's API");
    let answer = json!({
        "code": 0,
        "auth_key": made.value.expose_secret(),
        "username": account.name,
        "nickname": account.display,
        "msg": "登录成功",
    });
    let mut response = answer::json(StatusCode::OK, &answer)?;
    answer::set_cookie(&mut response, made.set_cookie.expose_secret())?;
    Ok(response)
}

fn refusal(site: &Site, refused: &Refused) -> HttpResult {
    let (status, code, message) = match refused {
        Refused::Empty => (StatusCode::OK, -1, "账号密码不能为空".to_owned()),
        Refused::Wrong => (StatusCode::OK, -4, "账号密码错误或账号已被禁用".to_owned()),
        Refused::CodeNeeded => (StatusCode::OK, 1, "请输入动态验证码".to_owned()),
        Refused::WrongCode => (
            StatusCode::OK,
            -5,
            "动态验证码错误或已被使用，请等待下一个".to_owned(),
        ),
        Refused::TooMany(until) => {
            let until = text::times(site).minute(until);
            let message = format!("登录失败次数过多，请在 {until} 之后重试");
            (StatusCode::TOO_MANY_REQUESTS, -6, message)
        }
    };
    answer::json(status, &json!({ "code": code, "msg": message }))
}
