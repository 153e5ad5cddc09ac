"""Every problem a test file can have beside those of how it is written (E1, see `rules.language.codes`)."""

from __future__ import annotations

from rules.language.codes import Code

CODES: dict[str, Code] = {
    "E501": Code("no such rule", "没有这条规则", "What is expected names a rule that the rule files do not have."),
    "E502": Code("no such input", "没有这个输入流", "A test can send only what a source can send."),
    "E503": Code("no such place", "没有这个地点", "The zone of a path is not among the zones of the world."),
    "E504": Code("no such stream", "没有这个命名流", "`use` names a stream that the file's `streams` do not have."),
    "E505": Code("no such test", "没有这个用例", "`same_as` names a test that does not stand above this one."),
    "E506": Code("not a series", "数列写法不对", "Values are written like 0x3 20x10, 0..30x10 or _x5."),
    "E507": Code("no tests", "没有用例", "A file without a test, or a test that expects nothing, cannot fail."),
    "E508": Code("no such file", "没有这个文件", "A file or folder that `rules` or `world` names is not there."),
    "E509": Code("no such field", "没有这个字段", "Records of this stream do not have such a field."),
    "E510": Code("no instants", "没有时刻", "It is not said when the records of a stream are sent."),
    "E511": Code(
        "test named twice", "用例重名", "Two tests of a file have the same name, so `same_as` cannot tell them."
    ),
    "E512": Code("not a time", "不是时间", "A start is RFC 3339 with an offset; other times are like 90s or 2m05s."),
}
