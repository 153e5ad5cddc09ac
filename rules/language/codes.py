"""Every problem the language can report, by code. E1: how it is written. E2: what it names. E3: what it means.
W: it loads, and is probably not what was meant.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of mistake: a title in both languages; what it leads to, and how to mend it."""

    title: str
    zh: str
    explanation: str


CODES: dict[str, Code] = {
    # -- how it is written
    "E100": Code(
        "not YAML",
        "不是合法的 YAML",
        "The file is no YAML document; nothing in it can be checked before that is mended.",
    ),
    "E101": Code(
        "cannot be read",
        "文件无法读取",
        "The path does not exist or cannot be opened.",
    ),
    "E102": Code(
        "not UTF-8",
        "不是 UTF-8 编码",
        "Rule files are UTF-8 text without control characters.",
    ),
    "E103": Code(
        "too large",
        "文件过大",
        "A rule file has at most 2 MB, 200000 entries, and 1000 macros, lists or calendars; a list 20000 items.",
    ),
    "E104": Code(
        "nested too deep",
        "嵌套过深",
        "Values nest at most 40 levels deep.",
    ),
    "E105": Code(
        "tab",
        "含有制表符",
        "Tabs look like spaces and are not; indent with spaces.",
    ),
    "E106": Code(
        "anchor, alias or merge key",
        "不允许锚点、别名或合并键",
        "What a rule says stands in the rule. Share through lists, macros and params.",
    ),
    "E107": Code(
        "tag",
        "不允许标签",
        "Types come from the key, never from a tag such as !!int.",
    ),
    "E108": Code(
        "more than one document",
        "多个文档",
        "A file holds one document; write a second file.",
    ),
    "E109": Code(
        "too many problems",
        "问题过多",
        "Checking of this file ended early; mend the first ones.",
    ),
    "E110": Code(
        "repeated key",
        "键重复",
        "Of two equal keys YAML keeps the last in silence; here it is refused.",
    ),
    "E111": Code(
        "unknown key",
        "未知的键",
        "A key the language does not have would be ignored in silence; here it is refused.",
    ),
    "E112": Code(
        "missing key",
        "缺少键",
        "The clause means nothing without this key.",
    ),
    "E113": Code(
        "wrong type",
        "类型错误",
        "The key expects another type of value.",
    ),
    "E114": Code(
        "value not allowed",
        "取值不允许",
        "The key takes one of a closed list of values, or a number within limits.",
    ),
    "E115": Code(
        "not a duration",
        "不是时长",
        "A duration is a number with ms, s, m, h or d: 90s, 3m, 1.5h.",
    ),
    "E116": Code(
        "not a length",
        "不是长度",
        "A length is a number with mm, cm, m or km: 12m, 1.5km.",
    ),
    "E117": Code(
        "not a percentage",
        "不是百分数",
        "A percentage is a number with %: 80%.",
    ),
    "E118": Code(
        "number out of range",
        "数字超出范围",
        "The number has too many digits or is not finite.",
    ),
    "E119": Code(
        "bad name",
        "名称不合规",
        "Names are lower-case letters, digits, hyphens and underscores, beginning with a letter.",
    ),
    "E120": Code(
        "not exactly one primitive",
        "detect 下必须恰有一个键",
        "A rule has exactly one key under detect.",
    ),
    "E121": Code(
        "unknown version",
        "语言版本未知",
        "This program reads version 1 of the language.",
    ),
    "E122": Code(
        "bad period",
        "时段不合规",
        "A period is HH:MM-HH:MM, the end not included; 24:00 is allowed as an end.",
    ),
    "E123": Code(
        "bad zone pattern",
        "区域通配不合规",
        "A zone pattern is kind/id, each part with * for anything.",
    ),
    "E124": Code(
        "bad date",
        "日期不合规",
        "A date is YYYY-MM-DD, the whole day included, or never.",
    ),
    "E125": Code(
        "not exactly one condition",
        "每项必须恰有一个条件",
        "Each item of neighbours is one of none, some, in_view and usual_stop; each of all_of looks at one stream.",
    ),
    "E126": Code(
        "name used twice",
        "名称重复",
        "Branches, sources and steps are told apart by their names.",
    ),
    "E127": Code(
        "key does not belong here",
        "此处不能用该键",
        "The key is of the language, and says nothing beside what else is written.",
    ),
    "E128": Code(
        "waiver cannot be read",
        "豁免注释不合规",
        "A waiver names warnings, a last day and a reason: # lint: allow W401 until 2026-12-31 -- reason.",
    ),
    "E129": Code(
        "no rules",
        "没有规则",
        "The folder holds no rule file: nothing would be watched.",
    ),
    "E130": Code(
        "expression cannot be read",
        "表达式无法解析",
        "The text is no expression of the language.",
    ),
    "E131": Code(
        "expression too large",
        "表达式过大",
        "An expression has at most 2000 characters, 24 levels and 256 parts, macros included.",
    ),
    "E132": Code(
        "kinds do not fit",
        "类型不匹配",
        "Numbers, flags and texts are never compared with each other.",
    ),
    "E133": Code(
        "unit does not fit",
        "单位不匹配",
        "The unit is unknown, or measures something else than the field.",
    ),
    "E134": Code(
        "wrong arguments",
        "函数参数错误",
        "The function takes other arguments.",
    ),
    "E135": Code(
        "bad pattern",
        "正则表达式不合规",
        "Patterns are RE2: no look-around, no back-references.",
    ),
    "E136": Code(
        "macro calls itself",
        "宏循环引用",
        "Macros expand to text; one that contains itself would never end.",
    ),
    "E140": Code(
        "bad message template",
        "消息模板不合规",
        "A place-holder is {field} or {field|filter}, {{ and }} are braces; a template has at most 1000 characters.",
    ),
    "E190": Code(
        "not built yet",
        "尚未实现",
        "The clause belongs to the language and this version cannot run it.",
    ),
    # -- what it names
    "E201": Code(
        "unknown stream",
        "未知的数据流",
        "No input topic has this name.",
    ),
    "E202": Code(
        "unknown field",
        "未知的字段",
        "The stream has no such field.",
    ),
    "E203": Code(
        "unknown list",
        "未知的列表",
        "The file's lists do not have it.",
    ),
    "E204": Code(
        "unknown macro",
        "未知的宏",
        "The file's macros do not have it.",
    ),
    "E205": Code(
        "unknown calendar",
        "未知的日历",
        "The file's calendars do not have it.",
    ),
    "E206": Code(
        "unknown param",
        "未知的参数",
        "The rule's params do not have it, or it is used where no override could change it.",
    ),
    "E207": Code(
        "unknown zone",
        "未知的区域",
        "The pattern selects no zone; the rule would watch nothing there.",
    ),
    "E208": Code(
        "unknown type code",
        "未知的事件类型代码",
        "The code is not in rules/tables/types.yaml.",
    ),
    "E209": Code(
        "unknown department",
        "未知的部门",
        "The department is not in the table of departments.",
    ),
    "E210": Code(
        "unknown function",
        "未知的函数",
        "Expressions have a fixed table of functions.",
    ),
    "E211": Code(
        "unknown filter",
        "未知的过滤器",
        "Message place-holders have a fixed table of filters.",
    ),
    "E212": Code(
        "no holiday table",
        "缺少节假日表",
        "The calendar asks for public holidays and no table of them is at hand.",
    ),
    "E213": Code(
        "unknown time zone",
        "未知的时区",
        "The name is not in the time zone database.",
    ),
    "E214": Code(
        "unknown source",
        "未知的来源",
        "The correlation has no source of this name.",
    ),
    "E215": Code(
        "unknown rule",
        "未知的规则",
        "No rule of all files loaded together has this id.",
    ),
    # -- what it means
    "E301": Code(
        "must be longer than nothing",
        "时长必须大于零",
        "A duration of zero would hold at once or never.",
    ),
    "E302": Code(
        "stage before the condition",
        "阶段早于条件成立",
        "The condition cannot be there that early, so the stage could never be reached on time.",
    ),
    "E303": Code(
        "rule id used twice",
        "规则编号重复",
        "Incidents name their rule by its id; two rules cannot share one.",
    ),
    "E304": Code(
        "lateness set twice",
        "延迟设置冲突",
        "A topic has one lateness, whatever file it is read for.",
    ),
    "E305": Code(
        "personal data unmasked",
        "个人信息未脱敏",
        "Messages leave the house; a tokenised field appears in them with |mask only.",
    ),
    "E306": Code(
        "stages out of order",
        "阶段顺序错误",
        "Stages follow one another in time.",
    ),
    "E307": Code(
        "zone without zones",
        "未选择区域",
        "Only a rule with zones has a zone.",
    ),
    "E308": Code(
        "token looked into",
        "令牌字段不可取内容",
        "Of a tokenised field only equality is known; its text is not there.",
    ),
    "E309": Code(
        "override changes nothing",
        "覆盖项没有内容",
        "An override has set, severity or both.",
    ),
    "E310": Code(
        "open and close overlap",
        "开启与关闭条件重叠",
        "A value that opens and closes at once would flap with every reading.",
    ),
    "E311": Code(
        "neighbours do not fit here",
        "此规则不能用 neighbours",
        "Only a dwell on camera.tracks has objects of the same frame, and a time to look at them.",
    ),
    "E312": Code(
        "length out of reach",
        "距离超出范围",
        "The lengths of neighbours are above nothing and at most 100m: beyond that a box says nothing of who queues.",
    ),
    "E313": Code(
        "share of nothing",
        "比例不能为零",
        "A condition that need not hold at any observation always holds.",
    ),
    "E314": Code(
        "too many conditions",
        "条件过多",
        "A rule has at most 3 boxes, one in_view and one usual_stop.",
    ),
    "E315": Code(
        "no condition",
        "没有条件",
        "An empty list asks nothing; without the key the rule looks at no neighbours.",
    ),
    "E316": Code(
        "radius too wide",
        "半径过大",
        "What belongs together lies at most 5km apart: each raise is held against everything within its radius.",
    ),
    "E317": Code(
        "too many rules",
        "规则过多",
        "All files together have at most 2000 rules: every rule looks at every record of its stream.",
    ),
    "E318": Code(
        "step that says nothing",
        "步骤没有意义",
        "A sequence begins with something that comes, and what must not come has no time for which it holds.",
    ),
    "E319": Code(
        "close does not fit",
        "结束条件不适用",
        "Each primitive ends in its own way; this key says nothing about the one that is used.",
    ),
    "E320": Code(
        "override out of reach",
        "覆盖项无法生效",
        "What is put together of several streams has one set of numbers; overrides change its conditions.",
    ),
    "E321": Code(
        "stage of a moment",
        "瞬时条件没有后续阶段",
        "The primitive happens in a moment; nothing can be seen of it later.",
    ),
    "E322": Code(
        "window does not fit",
        "窗口不匹配",
        "The slide, and what must be present in a window, are no longer than the window.",
    ),
    "E323": Code(
        "too short to be seen",
        "短于数据间隔",
        "The stream tells of a thing at intervals; what is shorter than one can never be seen, or always is.",
    ),
    "E324": Code(
        "year without holidays",
        "节假日表缺少年份",
        "Without its table a year would be worked by the plain week, its holidays and make-up days wrong.",
    ),
    "E325": Code(
        "life safety silenced",
        "生命安全规则不得抑制",
        "A rule about life and safety raises whatever else is open.",
    ),
    "E326": Code(
        "impossible condition",
        "条件不可能成立",
        "What is asked of a field at once leaves it no value, so the condition is never true.",
    ),
    "E327": Code(
        "circle of silence",
        "抑制关系成环",
        "A rule that is silenced by what it silences itself could stay silent for ever.",
    ),
    # -- probably not meant
    "W401": Code(
        "open and close meet",
        "开启与关闭条件之间无间隔",
        "Without a gap between the two levels a value at the border opens and closes in turns.",
    ),
    "W402": Code(
        "unit kept as written",
        "单位未换算",
        "The field carries no unit; the number is compared as it stands.",
    ),
    "W403": Code(
        "no owner",
        "规则无负责人",
        "Nobody is named who answers for the rule.",
    ),
    "W404": Code(
        "wait changes nothing",
        "等待时间不起作用",
        "The wait at a usual stop stands in place of the dwell's for; one that is not longer makes no difference.",
    ),
    "W405": Code(
        "count that flaps",
        "计数条件易抖动",
        "A count at its limit raises and clears with every look; a cooldown or a close with for steadies it.",
    ),
    "W501": Code(
        "override never applies",
        "覆盖项永不生效",
        "Of overrides the first that applies wins; an earlier one holds wherever this one does.",
    ),
    "W502": Code(
        "exemption has ended",
        "例外已过期",
        "The day until which it held is past.",
    ),
    "W503": Code(
        "waiver has ended",
        "豁免已过期",
        "The day until which the warning was accepted is past.",
    ),
    "W601": Code(
        "costly",
        "开销过大",
        "What is kept for each key, or compared with each other, grows beyond what a worker should hold.",
    ),
    "W701": Code(
        "no test beside it",
        "缺少测试文件",
        "Each rule file has its tests beside it, in <name>_test.yaml.",
    ),
    "W702": Code(
        "Chinese text missing",
        "缺少中文文本",
        "The dispatch centre reads Chinese; en is for everybody else.",
    ),
    "W801": Code(
        "owner unmasked",
        "设备所有人未脱敏",
        "A device's owner may be a person.",
    ),
    "W802": Code(
        "pictures unmasked",
        "取证图像未脱敏",
        "Pictures show people; faces and plates are masked.",
    ),
    "W803": Code(
        "pictures kept too long",
        "取证图像保留过久",
        "Pictures of people are kept for 90 days at most.",
    ),
}
