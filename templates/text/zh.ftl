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

## 列表与筛选

find-search = 查询
find-clear = 清除
find-all = 全部
find-since = 开始日期
find-until = 结束日期
find-newest = 最新
find-more = 更多
find-none-yet = 暂无匹配，点“更多”继续查找。
link-task = 上线单 { $id }
optional = 选填

## 用户

users-title = 用户
users-name = 用户名
users-display = 显示名称
users-role = 角色
users-groups = 用户组
users-groups-hint = 多个用户组用逗号分隔。
users-factor = 两步验证
users-factor-on = 已启用
users-factor-off = 未启用
users-status = 状态
users-active = 正常
users-disabled = 已停用
users-created = 创建时间
users-add = 添加用户
users-password-hint = 不设密码时，该用户只能使用令牌。
users-add-button = 添加
user-role-none = 无（仅授权生效）
user-role-viewer = 只读用户
user-role-submitter = 提单人
user-role-approver = 审批人
user-role-admin = 管理员

## 用户详情

user-tokens = 令牌
user-tokens-none = 暂无令牌。
user-token-new = 新令牌（仅显示一次）：
user-token-label = 名称
user-token-id = ID
user-token-scopes = 权限范围
user-token-created = 创建时间
user-token-expires = 过期时间
user-token-never = 永不过期
user-token-revoke = 吊销
user-token-revoke-one = 吊销令牌 { $name }
user-token-add = 创建令牌
user-token-create = 创建
user-token-limited = 令牌的权限不会超出用户的角色。
user-scope-read = 查看上线单、日志和主机
user-scope-submit = 提单
user-scope-approve = 审批、执行、停止和回滚
user-scope-admin = 管理用户、主机和本账号
user-time-zone = 时区 { $zone }
user-password = 密码
user-password-current = 当前密码
user-password-new = 新密码
user-ends-sessions = 所有会话将退出，令牌仍然有效。
user-password-set = 修改密码
user-language = 语言
user-language-hint = 页面语言，保存在您的账号中。
user-language-save = 保存
user-factor = 两步验证
user-factor-add = 请将密钥添加到身份验证器，再输入其中的验证码。密钥仅显示一次。
user-factor-qr = 身份验证器二维码
user-factor-open = 在本机的验证器中打开
user-factor-type = 手动输入：
user-factor-then = 启用后每次登录都需要验证码。所有会话将退出，令牌仍然有效。
user-factor-enable = 启用
user-factor-wrong = 验证码与最近显示的密钥不符。请输入验证器当前的验证码；如仍失败，请检查手机时间并重新生成密钥。
user-factor-again = 重新生成密钥
user-factor-since = 自 { $since } 起已启用，每次登录都需要验证码。
user-factor-reset = 重置…
user-factor-reset-now = 重置两步验证
user-factor-none = 未启用，仅凭密码即可登录。
user-factor-begin = 设置两步验证
user-delegations = 审批委托
user-delegations-none = 暂无审批委托。
user-delegation = { $to } 可代 { $from } 审批。
user-delegation-until = 截止时间
user-delegation-project = 项目
user-delegation-by = 创建人
user-delegation-what = 委托
user-delegation-end = 结束委托
user-delegation-end-one = 结束 { $from } 对 { $to } 的委托
user-delegate = 委托审批
user-delegate-to = 委托给
user-delegate-all = 全部项目
user-rights = 角色与用户组
user-rights-save = 保存
user-access = 访问
user-is-disabled = { $name } 已停用：密码、会话和令牌均无效。
user-enable = 启用 { $name }
user-disable-what = 所有会话将退出；重新启用 { $name } 之前，密码和令牌均无效。
user-disable = 停用 { $name }
user-remove = 删除 { $name }…
user-remove-now = 删除 { $name } 及其全部令牌

## 钩子日志

hooks-title = 钩子日志
hooks-about = 钩子上报的每次 tag 推送及其处理结果。
hooks-unseen = 自 { $since } 起无法发现钩子未上报的 tag（最近一次尝试：{ $at }）：{ $cause }
hooks-unseen-of = { $project }：{ $problem }
hooks-filter = 筛选推送
hooks-project = 项目
hooks-outcome = 处理结果
hooks-ref = ref 包含
hooks-pusher = 推送人
hooks-none = 没有推送记录。
hooks-pages = 更多推送
hook-entry = 记录 { $id }
hook-unreadable = 无法读取的文件
hook-outcome = 处理结果
hook-replay = 重新处理
hook-replay-what = 按当前规则重新处理本次推送：生成新上线单，或并入同一推送未结束的上线单。
hook-replays = 重新处理记录
hook-replayed-by = { $name } 于 { $at } 重新处理
hook-details = 详情
hook-received = 接收时间
hook-pushed = 推送时间（git 服务器时钟）
hook-repository = 仓库
hook-ref = ref
hook-from = 原对象
hook-to = 新对象
hook-owner = 文件属主
hook-owner-uid = UID { $uid }
hook-record = 记录 ID
hook-file = 文件
hook-doubted = 将为以下上线单重新检查该 tag：
hook-outcome-proposed = 已生成上线单
hook-outcome-joined = 已并入
hook-outcome-duplicate = 重复
hook-outcome-no-rule = 无匹配规则
hook-outcome-deleted = 已删除
hook-outcome-unknown-repository = 未知仓库
hook-outcome-unreadable = 无法读取
hook-outcome-refused = 已拒绝
hook-became-proposed = 已生成新的上线单
hook-became-joined = 已并入同一推送未结束的上线单
hook-became-duplicate = 该记录此前已处理
hook-became-no-rule = 没有匹配的规则，不会发布
hook-became-deleted = tag 已删除，不会发布
hook-became-unknown = 没有项目配置了该仓库
hook-became-unreadable = 文件无法读取，已保留在 spool 的 bad/ 目录：{ $reason }

## 主机

hosts-title = 主机
hosts-live = 线上版本
hosts-no-project = 尚未配置项目。
hosts-release = 版本
hosts-commit = 提交
hosts-task = 上线单
hosts-by = 发布人
hosts-since = 上线时间
hosts-on = 主机
hosts-nothing = 无版本
hosts-foreign = 非 tagship 发布
hosts-restored = 由上线单 { $id } 回滚恢复
hosts-roll-back = 回滚…
hosts-all = 已配置的主机
hosts-none = 尚未配置主机。
hosts-name = 名称
hosts-address = 地址
hosts-groups = 主机组
hosts-state = 状态
hosts-enabled = 正常
hosts-disabled = 已摘除
hosts-disabled-by = { $name } 于 { $since } 摘除：{ $reason }
hosts-enable = 恢复 { $name }
hosts-disable-ask = 摘除…
hosts-disable = 摘除 { $name }
hosts-reason = 原因

## 发布模板

templates-title = 发布模板
templates-about = 发布模板定义上线单的阶段和步骤。模板文件变更后 agent 会自动重新加载。
templates-invalid = 无效的文件：
templates-none = 暂无发布模板。
template-number = 编号 { $id }
template-required = { $name }（必填）
template-title = 发布模板 { $name }
template-current = 当前版本
template-on = 主机：{ $hosts }
template-gate-hand = 人工卡点
template-gate-timed = 定时卡点
template-batch = 每批 { $count } 台
template-outputs = 输出 { $outputs }
template-output = { $name }（来自 { $step }）
template-output-secret = { $name }（密文，来自 { $step }）
template-params = 参数
template-param = 名称
template-param-needed = 必填
template-param-default = 默认值
template-param-allowed = 可选值
template-yes = 是
template-no = 否
template-pattern = 格式
template-gone = 模板文件缺失或无效，新的上线单无法使用该模板。已被使用过的版本会保留。
template-changes = 变更
template-from-to = 从 { $from } 到 { $to }
template-no-changes = 没有变更。
template-itself = 模板文件
template-versions = 上线单使用过的版本
template-version = 版本
template-first-used = 首次使用
template-compare = 对比
template-versions-none = 尚未被上线单使用。
template-is-current = 当前
template-compare-current = 与当前版本对比
template-compare-previous = 与上一版本对比
template-text-current = 当前内容
template-text = 内容
template-no-version = 没有上线单使用过发布模板 { $name } 的版本 { $digest }

## 提单

submit-title = 提单
submit-nothing = 提交失败。
submit-correct = 请修改以下字段后重新提交：
submit-copied = 复制自上线单 { $id }，不含密文参数和开始时间。
submit-choose-other = 选择其他发布模板
submit-name = 标题
submit-environment = 环境
submit-choose = 请选择
submit-place-by-rule = { $project }，环境由 tag 的规则决定
submit-tag = tag
submit-must-match = 格式须为 { $pattern }
submit-hosts = 主机 { $number }
submit-host-disabled = { $address }，已摘除：{ $reason }
submit-names = 名称或地址
submit-other-hosts = 其他主机
submit-commas = 多个用逗号分隔。
submit-start = 最早开始时间
submit-start-hint = 时区为 { $zone }。
submit-approval = 审批
submit-approval-required = 需要审批
submit-approval-not-required = 无需审批
submit-approvers = 指定审批人
submit-remarks = 备注
submit-button = 提交
submit-choose-template = 选择发布模板
submit-no-template = 没有您可以使用的发布模板。
submit-json = 以 JSON 提单
submit-json-what = 格式与 { $request } 或 CODO 接口相同。
submit-json-label = JSON
submit-not-json = 不是有效的 JSON：{ $problem }
submit-unknown-template = 没有发布模板 { $name }，请选择其他模板
submit-unknown-field = 表单中有未知字段 { $name }，请刷新页面

## 回滚

rollback-title = 回滚 { $project } { $environment }
rollback-live = 线上版本
rollback-target = 回滚目标
rollback-task = 上线单
rollback-release = 版本
rollback-commit = 提交
rollback-by = 发布人
rollback-at = 创建时间
rollback-hosts = 主机
rollback-host = 主机
rollback-origin = 来源
rollback-foreign = 非 tagship 发布
rollback-as-it-is = 版本将原样使用，不会重新构建。如果版本已被清理，上线单会在任何主机切换之前失败。
rollback-is-live = 该版本已在线上，回滚不会产生变化。
rollback-what = 回滚会先于排队中的上线单执行，切换阶段的命令（重载、检查）会再次执行。
rollback-to = 回滚到 { $release }
rollback-to-each = 回滚到以上版本
rollback-others = 或回滚到其他工具留下的版本：
rollback-cancel = 取消
rollback-not-seen = `seen` 与页面内容不符，请刷新页面
user-delegation-endless = 缺少委托的截止时间，请返回填写

## 审计

nav-audit = 审计
audit-title = 审计
audit-about = 谁在何时做了什么，最新的在前，被拒绝的请求也在其中。
audit-filter = 筛选记录
audit-by = 操作人
audit-what = 操作
audit-task = 上线单号
audit-on = 主机、环境或用户
audit-time = 时间
audit-object = 对象
audit-result = 结果
audit-from = 来源
audit-done = 成功
audit-refused = 已拒绝
audit-none = 没有审计记录。
audit-pages = 更多记录
audit-not-a-task = { $text } 不是上线单号，请填写数字，例如 7
audit-action-approve = 审批通过
audit-action-approve-in-an-emergency = 紧急审批通过
audit-action-reject = 驳回
audit-action-withdraw = 撤回
audit-action-stop = 停止
audit-action-skip = 跳过主机
audit-action-override-freeze = 封网期间放行
audit-action-retry = 重试
audit-action-resume = 继续
audit-action-submit = 提单
audit-action-roll-back = 回滚
audit-action-roll-back-in-an-emergency = 紧急回滚
audit-action-replay-push = 重新处理推送
audit-action-disable-host = 摘除主机
audit-action-enable-host = 恢复主机
audit-action-add-user = 添加用户
audit-action-change-user = 修改用户
audit-action-remove-user = 删除用户
audit-action-set-password = 修改密码
audit-action-make-token = 创建令牌
audit-action-revoke-token = 吊销令牌
audit-action-begin-second-factor = 开始设置两步验证
audit-action-confirm-second-factor = 启用两步验证
audit-action-reset-second-factor = 重置两步验证
audit-action-delegate = 委托审批
audit-action-end-delegation = 结束委托
audit-action-log-in = 登录
audit-action-log-in-for-codos-api = 登录（CODO 接口）
audit-action-take-backup = 备份
audit-action-restore = 从备份恢复

## 项目

project-hook = 钩子
project-heard = 钩子最近一次上报推送：{ $at }。
project-never-heard = 钩子尚未上报过推送。
project-pushes = 本项目的推送
project-tasks = 本项目的上线单
project-frozen = 封网至 { $until }：{ $name }
project-releases = 历史版本
project-releases-none = 尚未发布过。
project-release = 版本
project-commit = 提交
project-task = 上线单
project-by = 发布人
project-created = 创建时间
project-kept = 保留在
project-not-kept = 已知主机均未保留
project-live = 线上
project-failed = 未成功
project-foreign = 非 tagship 发布
project-roll-back = 回滚
project-roll-back-to = 回滚到 { $release }
project-compare = 对比两个版本
project-compare-button = 对比
project-compare-from = 从
project-compare-to = 到
project-compared = { $from } 与 { $to } 之间的发布
project-compared-what = 各上线单页面显示其提交和文件。
project-compared-none = 两者之间没有其他版本。
project-freezes = 封网日历
project-freezes-none = 本项目没有配置封网。
project-freeze = 封网
project-freeze-when = 时间
project-freeze-where = 环境
project-freeze-why = 原因
project-freeze-everywhere = 全部
project-freeze-once = { $from } 至 { $until }
project-freeze-daily = { $days } { $from } 至 { $until }
project-freeze-weekly = { $first } { $from } 至 { $last } { $until }
project-days = { $days }、{ $day }
project-every-day = 每天
project-day-mon = 周一
project-day-tue = 周二
project-day-wed = 周三
project-day-thu = 周四
project-day-fri = 周五
project-day-sat = 周六
project-day-sun = 周日
project-unknown = 没有项目 { $name }，请查看上线单列表

## 线上版本被改动

drift-directory = current 是目录而不是链接，tagship 切换到的是 { $from }
drift-file = current 是文件而不是链接，tagship 切换到的是 { $from }
drift-text = current 是内容无法显示的链接，tagship 切换到的是 { $from }
drift-dangling = current 指向不存在的 { $to }，tagship 切换到的是 { $from }
drift-loop = current 是指向自身的链接，tagship 切换到的是 { $from }
drift-elsewhere = current 指向 { $to }，tagship 切换到的是 { $from }
drift-missing = current 不存在，tagship 切换到的是 { $from }
drift-since = { $drift }（{ $seen } 首次发现，改动时间未知）
drift-since-change = { $drift }（主机时间 { $changed } 被改动，{ $seen } 首次发现）
