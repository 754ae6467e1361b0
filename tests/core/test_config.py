from enas_tf.core.config import option


def test_an_option_has_its_meaning_and_what_else_launchers_heed():
    made = option(3, "how many", flag="ops")
    assert made.default == 3
    assert made.metadata == {"help": "how many", "flag": "ops"}
