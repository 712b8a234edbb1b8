"""Event files against the readers of two other programs."""

import struct

import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from reports.tensorboard import event_file

METRICS = {"epoch": 300, "loss": 0.25, "estimated_certified_accuracy": [0.5, 0.125]}
EXPECTED = {
    "epoch": 300.0,
    "loss": 0.25,
    "estimated_certified_accuracy/0": 0.5,
    "estimated_certified_accuracy/1": 0.125,
}


def records(content):
    """Bytes of each record, after its checksums were held against another implementation's."""
    while content:
        length = struct.unpack("<Q", content[:8])[0]
        event, after = content[12 : 12 + length], content[12 + length : 16 + length]
        assert struct.unpack("<I", content[8:12])[0] == masked_crc32c(content[:8])
        assert struct.unpack("<I", after)[0] == masked_crc32c(event)
        yield event
        content = content[16 + length :]


@pytest.mark.parametrize("step", [0, 127, 128, 300, 2**40])
def test_every_number_is_read_back_at_its_step(step):
    first, *others = map(Event.FromString, records(event_file(METRICS, step=step, seconds=1.5e9)))
    assert (first.file_version, first.wall_time) == ("brain.Event:2", 1.5e9)
    assert {(event.step, event.wall_time) for event in others} == {(step, 1.5e9)}
    values = [event.summary.value[0] for event in others]
    assert {value.tag: value.simple_value for value in values} == EXPECTED


def test_a_changed_byte_is_seen():
    content = bytearray(event_file(METRICS, step=1, seconds=0.0))
    content[20] ^= 1
    with pytest.raises(AssertionError):
        list(records(bytes(content)))


def test_tensorboard_itself_reads_a_folder_of_them(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not part of the installation")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for step in range(3):
        name = f"events.out.tfevents.{step:05d}"
        (tmp_path / name).write_bytes(event_file({"loss": step / 2}, step=step, seconds=step))
    seen = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [(event.step, event.value) for event in seen] == [(0, 0.0), (1, 0.5), (2, 1.0)]
