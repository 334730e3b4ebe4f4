# 页面的中文文案。与 `en.ftl` 的 id 及顺序一致。

## 所有页面

skip-to-content = 跳到正文
nav-pages = 页面
nav-tasks = 上线单
nav-submit = 提单
nav-hooks = 钩子日志
nav-hosts = 主机
nav-templates = 发布模板
nav-users = 用户
nav-account = 密码、令牌与语言
log-out = 退出
disabled-hosts = 已摘除的主机：
times-are-in = 时间均为 { $zone } 时区。
back = 返回
commits = { $count } 个提交

## 登录

login-title = 登录 tagship
tagline = 打个 tag，就发布。
login-name = 用户名
password = 密码
log-in = 登录
code = 验证码
login-enter-code = { $name }，请输入身份验证器中的验证码。
login-start-over = 重新登录。
login-lost-app = 验证器丢失时，请联系管理员重置两步验证。
login-wrong-password = 用户名或密码错误。
login-wrong-code = 验证码错误或已使用过，请等待下一个验证码。
login-too-many = 登录失败次数过多，请在 { $until } 之后重试。
login-cookie-lost = 登录信息正确，但浏览器没有带回 Cookie。[agent] public_url 为 { $url }，Cookie 仅用于 https：请打开 { $url }{ $path }。若要允许 http 登录，请将 public_url 改为用户访问的 http 地址并重启 agent。
login-again = 请重新登录。如果您刚刚登录过，说明浏览器没有保存 { $host } 的 Cookie：请允许本站使用 Cookie，或打开 { $url }{ $path }。
login-plain-http = 当前页面通过 http 打开，登录无法保持：[agent] public_url 为 { $url }，Cookie 仅用于 https。请打开 { $url }{ $path }，或将 public_url 改为用户访问的 http 地址并重启 agent。

## 拒绝与错误

fault-forbidden = 没有权限
fault-not-found = 未找到
fault-conflict = 当前无法执行
fault-busy = 请稍后再试
fault-internal = 内部错误
fault-invalid = 请求无效
