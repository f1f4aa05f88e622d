import pytest

from laion_protocol import ErrorBody, ErrorCode, error_from


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_becomes_one_exception_that_says_the_same_again(code):
    body = ErrorBody(error=code, message="job demo/7", retry_after=3.0)

    error = error_from(body)

    assert error.to_body() == body
    assert str(error) == "job demo/7"


def test_no_two_errors_share_a_code():
    from laion_protocol.errors import TrackerError

    codes = [error.code for error in TrackerError.__subclasses__()]

    assert sorted(codes) == sorted(ErrorCode)
