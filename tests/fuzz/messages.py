"""Messages of any values, and bytes that are nearly messages, for every method of the wire contract."""

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from charloom.bundle import Bundle
from tests.fuzz.conftest import BUNDLE

KNOWN = Bundle.open(BUNDLE).vocabulary.characters
MANY = st.sampled_from([64, 65, 128, 129, 300, 301, 1025, 2**14 + 1])
TEXTS = (
    st.text(KNOWN, max_size=12)
    | st.text(max_size=8)
    | st.sampled_from(["", BUNDLE.name, "\0", "a" * 257, "☃" * 5001, "a" * 5000, "p" * 2**20])
)
WHOLE = st.sampled_from([0, 1, 2, 3, 20, 21, 64, 128, 129, 1024, 1025]) | st.integers(0, 300)
NUMBERS = st.sampled_from([0.0, 0.5, 1.0, 2.0, -2.0, 100.0, 1e-45, 3.4e38]) | st.floats(width=32)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_UINT32: WHOLE | st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: WHOLE | st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_FLOAT: NUMBERS,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
}


def values(field: Any) -> st.SearchStrategy[Any]:
    """Values of a field, one of them where it is repeated."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        return messages(field.message_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=100) | st.just(bytes(2**20 + 1))
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return TEXTS
    return SCALARS[field.cpp_type]


def many(value: Any, count: int) -> list[Any]:
    """A value again and again, within 8 MiB: no call carries more than 4."""
    size = value.ByteSize() if isinstance(value, Message) else len(value) if isinstance(value, str) else 4
    return [value] * min(count, 1 + 2**23 // (size + 1))


@st.composite
def messages(draw: Callable[..., Any], descriptor: Descriptor, most: int = 5) -> Message:
    """Messages of a type, of which a few fields are set."""
    names = [field.name for field in descriptor.fields]
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=most)) if names else []
    fields = {}
    for name in chosen:
        field = descriptor.fields_by_name[name]
        one = values(field)
        lists = st.lists(one, max_size=4) | st.builds(many, one, MANY)
        fields[name] = draw(lists if field.is_repeated else one)
    return GetMessageClass(descriptor)(**fields)


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    septets = [number >> shift & 127 for shift in range(0, max(1, number.bit_length()), 7)]
    return bytes([*(septet | 128 for septet in septets[:-1]), septets[-1]])


UNKNOWN = (
    st.builds(lambda n, v: varint(n << 3) + varint(v), st.integers(100, 2**29 - 1), st.integers(0, 2**64 - 1))
    | st.builds(
        lambda n, v: varint(n << 3 | 2) + varint(len(v)) + v, st.integers(100, 2**29 - 1), st.binary()
    )
    | st.builds(
        lambda n, d: varint(n << 3 | 3) * d + varint(n << 3 | 4) * d, st.integers(1, 200), st.integers(1, 300)
    )
    | st.sampled_from([b"\x0b" * 100_000, b"\x0a\xff\xff\xff\xff\x0f", b"\x00", b"\xff" * 11])
)
"""Fields that no message has, groups in groups, lengths beyond the end."""


@st.composite
def wires(draw: Callable[..., Any], descriptor: Descriptor) -> bytes:
    """Bytes that are nearly a message, or not at all."""
    data = draw(messages(descriptor)).SerializeToString()[: 2**16]
    place = draw(st.integers(0, len(data)))
    return draw(
        st.binary(max_size=200)
        | st.just(data[:place])
        | st.builds(
            lambda flipped: data[:place] + flipped + data[place + len(flipped) :], st.binary(max_size=4)
        )
        | st.builds(lambda unknown: data[:place] + unknown + data[place:], UNKNOWN)
        | st.builds(lambda unknown: data + unknown, UNKNOWN)
    )
