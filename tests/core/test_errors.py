import pytest

from enas_tf.core.errors import UserError, one_line, raised_in_pipelines


class Detailed(Exception):
    """As TensorFlow's errors, whose text is more than their message."""

    message = "Unknown image file format. [Op:DecodeImage]"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("wrong\n  in many words"), "wrong"),
        (ValueError("\n\nwrong \n"), "wrong"),
        (ValueError(), "ValueError"),
        (Detailed("a long story"), "Unknown image file format. [Op:DecodeImage]"),
        ("{{function_node f}} {{node g/h}} no such op\n\t [[{{node g/h}}]]", "no such op"),
        ("x" * 300, "x" * 200),
        (" \n", "it does not say why"),
    ],
)
def test_one_line_is_the_first_that_says_something(error, line):
    assert one_line(error) == line


def test_an_error_of_a_pipeline_is_raised_anew():
    class OfTensorFlow(Exception):
        """As one of TensorFlow that holds an error of Python's."""

    def fail(text):
        raise OfTensorFlow(text)

    with pytest.raises(UserError, match=r"^image a.png is gone$"), raised_in_pipelines():
        fail("{{node x}} Error in MapDataset: UserError: image a.png is gone\nTraceback ...")
    with pytest.raises(OfTensorFlow), raised_in_pipelines():
        fail("out of memory")
