import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from sklearn.datasets import load_digits
from torch import nn

from models.errors import CertifyError, JobError
from models.loss_spec import LOSSES, CertifiedRadiusLossSpec, CrossEntropyLossSpec, EmmaLossSpec
from models.model_spec import LinearSpec, MlpSpec
from models.networks.averaging import newest_share
from models.networks.holding import Matrices
from models.networks.muon import Muon
from models.networks.orthogonal import drift
from models.networks.schedules import rate_factor
from models.networks.training import finished_network, start_training, train_epoch
from models.networks.training_state import read_state, unpack_network
from models.networks.validation import validate
from models.splits import Split
from models.train_spec import AugmentSpec, AverageSpec, TrainSpec

SHAPE = (1, 8, 8)
MODEL = MlpSpec(widths=(32, 24))
LINEAR = LinearSpec(architecture="linear")
TRAIN = TrainSpec(epochs=3, batch_size=64)
ADAM = TrainSpec(epochs=3, batch_size=64, optimizer="adam")


@pytest.fixture(scope="module")
def digits():
    bunch = load_digits()
    images = (bunch.images[:, None] / 16).astype(np.float32)
    whole = Split(images, bunch.target.astype(np.int64), np.arange(len(images)))
    order = np.random.default_rng(1).permutation(len(whole))
    return whole.take(order[:1437]), whole.take(order[1437:])


def trained(split, model=MODEL, train=TRAIN, *, classes=10, seed=0, epochs=None):
    state = start_training(model, train, split, classes=classes, seed=seed)
    history = []
    for epoch in range(train.epochs if epochs is None else epochs):
        state, metrics = train_epoch(
            state, model, train, split, classes=classes, seed=seed, epoch=epoch, device="cpu"
        )
        history.append(metrics)
    return state, history


def noise_split(input_shape, classes, *, examples, dtype=np.uint8):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (examples, *input_shape)).astype(np.uint8)
    if dtype == np.float32:
        images = images.astype(np.float32) / np.float32(255)
    return Split(images, rng.integers(0, classes, examples), np.arange(examples))


def test_each_optimiser_has_a_rate_of_its_own_and_a_given_one_wins():
    assert (TrainSpec().optimizer, TrainSpec().learning_rate) == ("muon", 2e-2)
    assert TrainSpec(optimizer="adam").learning_rate == 4e-3
    assert TrainSpec(optimizer="adam", learning_rate=1e-2).learning_rate == 1e-2
    with pytest.raises(ValueError, match="'muon' or 'adam'"):
        TrainSpec(optimizer="sgd")


def test_the_state_holds_the_moments_that_the_optimiser_has_and_no_others(digits):
    part, _ = digits
    for train, squares in ((TRAIN, 0), (ADAM, 2)):
        fresh, _ = trained(part, train=train, epochs=0)
        assert not [name for name in load(fresh) if name.startswith("adam.")]
        tensors = load(trained(part, train=train, epochs=1)[0])
        assert len([name for name in tensors if name.startswith("adam.mean.")]) == 6
        held = [name for name in tensors if name.startswith("adam.square.body.")]
        assert len([name for name in held if name.endswith("weight")]) == squares


@pytest.mark.parametrize("train", [TRAIN, ADAM])
def test_moments_outlive_the_epoch(digits, train):
    part, _ = digits
    told = {"classes": 10, "seed": 0, "epoch": 1, "device": "cpu"}
    state, _ = trained(part, train=train, epochs=1)
    forgotten = {n: t for n, t in load(state).items() if not n.startswith("adam.")}
    kept, _ = train_epoch(state, MODEL, train, part, **told)
    lost, _ = train_epoch(save(forgotten), MODEL, train, part, **told)
    assert not torch.equal(load(kept)["network.head.weight"], load(lost)["network.head.weight"])


def test_under_muon_every_pull_on_a_large_matrix_is_whole(digits, monkeypatch):
    part, _ = digits
    steps, step = [], Matrices.step
    monkeypatch.setattr(Matrices, "step", lambda self, w: steps.append(w.shape) or step(self, w))
    for train, most in ((TRAIN, 22), (ADAM, 3)):
        steps.clear()
        often = train.model_copy(update={"project_every": 1, "epochs": 1})
        trained(part, MlpSpec(widths=(128, 128)), often)
        assert len([shape for shape in steps if shape == (128, 128)]) == most


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_folds_begin_where_the_job_says(digits, share):
    part, _ = digits
    train = TRAIN.model_copy(update={"folded": share})
    tensors = read_state(start_training(MODEL, train, part, classes=10, seed=0))
    network = unpack_network(tensors, MODEL, input_shape=SHAPE, classes=10)
    first = network.body[0](network.view(torch.tensor(part.inputs())))
    assert (first < -1e-6).float().mean(dim=0) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("model", [MODEL, LINEAR])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(digits, model):
    part, _ = digits
    first, _ = trained(part, model)
    again, _ = trained(part, model)
    other, _ = trained(part, model, seed=1)
    assert first == again
    assert first != other


@pytest.mark.parametrize("train", [TRAIN, ADAM])
def test_a_run_that_is_cut_off_ends_with_the_same_bits(digits, train):
    part, _ = digits
    whole, history = trained(part, train=train)
    state, _ = trained(part, train=train, epochs=1)
    kept = bytes(bytearray(state))  # as if written and read back
    for epoch in (1, 2):
        for _ in range(2):  # the first attempt is lost
            state, metrics = train_epoch(
                kept, MODEL, train, part, classes=10, seed=0, epoch=epoch, device="cpu"
            )
        assert metrics == history[epoch]
        kept = state
    assert kept == whole


def test_a_run_with_a_large_matrix_that_is_cut_off_ends_with_the_same_bits(digits):
    part, _ = digits
    model, train = MlpSpec(widths=(128, 128)), ADAM.model_copy(update={"epochs": 2})
    whole, history = trained(part, model, train)
    kept, _ = trained(part, model, train, epochs=1)
    told = {"classes": 10, "seed": 0, "device": "cpu"}
    state, metrics = train_epoch(bytes(bytearray(kept)), model, train, part, epoch=1, **told)
    assert state == whole
    assert metrics == history[1]


def test_emma_is_asked_for_less_at_first(digits):
    part, _ = digits
    rising = {"name": "emma", "eps": 0.5, "start": 0.1}
    losses = (rising, {"name": "emma", "eps": 0.1}, {"name": "emma", "eps": 0.5})
    trains = [TrainSpec(epochs=2, batch_size=1437, loss=loss) for loss in losses]
    assert len({trained(part, train=train)[0] for train in trains}) == 3
    one_step = TrainSpec(epochs=4, batch_size=1437, loss=rising)  # begins at the start
    low = one_step.model_copy(update={"loss": EmmaLossSpec(name="emma", eps=0.1)})
    first, other = (trained(part, train=train, epochs=1)[0] for train in (one_step, low))
    assert first == other


def test_training_touches_neither_its_arguments_nor_the_global_generators(digits):
    part, _ = digits
    images, labels = part.images.copy(), part.labels.copy()
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    trained(part, epochs=1)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert np.array_equal(part.images, images)
    assert np.array_equal(part.labels, labels)


def test_read_only_images_as_a_shared_store_gives_them_are_fine(digits):
    part, _ = digits
    expected, _ = trained(part, epochs=1)
    locked = Split(part.images.copy(), part.labels.copy(), part.indices.copy())
    for array in (locked.images, locked.labels, locked.indices):
        array.flags.writeable = False
    found, _ = trained(locked, epochs=1)
    assert found == expected


def test_bytes_and_their_float32_values_train_alike():
    states = [
        trained(noise_split((3, 5, 4), 4, examples=100, dtype=dtype), classes=4)[0]
        for dtype in (np.uint8, np.float32)
    ]
    assert states[0] == states[1]


def test_the_metrics_say_where_training_stands(digits):
    part, _ = digits
    _, history = trained(part)
    assert [metrics["epoch"] for metrics in history] == [0, 1, 2]
    assert history[2]["loss"] < history[0]["loss"]
    assert all(0 < metrics["drift"] < 1 for metrics in history)
    rates = [metrics["learning_rate"] for metrics in history]
    assert TRAIN.learning_rate > rates[0] > rates[1] > rates[2] > 0


def test_digits_reach_what_the_recipe_promises_within_seconds(digits):
    part, held_out = digits
    model = MlpSpec(widths=(256, 256))
    loss = CertifiedRadiusLossSpec(margin=0.5, temperature=0.15)
    state, _ = trained(part, model, TrainSpec(epochs=15, batch_size=32, loss=loss))
    network = finished_network(state, model, input_shape=SHAPE, classes=10)
    found = validate(network, held_out, eps=(0.25, 0.5))
    assert found["clean_accuracy"] > 0.95
    assert found["estimated_certified_accuracy"][0] > 0.88
    assert found["estimated_certified_accuracy"][1] > 0.66


def test_the_finished_network_is_orthogonal_and_its_head_is_the_trained_one(digits):
    part, _ = digits
    state, _ = trained(part)
    network = finished_network(state, MODEL, input_shape=SHAPE, classes=10)
    assert not network.training
    for layer in network[1:-1]:
        if isinstance(layer, nn.Linear):
            assert drift(layer.weight.detach().double()) < 1e-6
    assert torch.equal(network[-1].weight, load(state)["network.head.weight"])


def test_training_moves_every_weight(digits):
    part, _ = digits
    before = load(start_training(MODEL, TRAIN, part, classes=10, seed=0))
    after = load(trained(part, epochs=1)[0])
    for name, value in before.items():
        if name.startswith("network.view"):
            assert torch.equal(value, after[name]), name
        elif name.startswith("network"):
            assert (value != after[name]).float().mean() > 0.9, name


@pytest.mark.parametrize(
    ("model", "input_shape", "classes", "examples"),
    [
        (MODEL, (3, 4, 2), 2, 10),
        (MlpSpec(widths=(12, 30, 5), components=9), (1, 7, 3), 101, 300),
        (LINEAR, (2, 3, 3), 3, 50),
        (MODEL, (1, 4, 4), 2, 1),
    ],
)
@pytest.mark.parametrize("loss", [TrainSpec().loss, CrossEntropyLossSpec(name="cross-entropy")])
def test_any_shape_any_number_of_classes_and_few_examples(
    model, input_shape, classes, examples, loss
):
    split = noise_split(input_shape, classes, examples=examples)
    train = TrainSpec(epochs=2, loss=loss)
    state, _ = trained(split, model, train, classes=classes)
    network = finished_network(state, model, input_shape=input_shape, classes=classes)
    logits = network(torch.tensor(split.inputs()))
    assert logits.shape == (examples, classes)
    assert logits.isfinite().all()


def test_cross_entropy_trains_and_its_temperature_trades_accuracy_for_radius(digits):
    part, _ = digits
    certified = []
    for temperature in (0.02, 1.0):
        loss = CrossEntropyLossSpec(name="cross-entropy", temperature=temperature)
        train = TrainSpec(epochs=10, batch_size=64, loss=loss)
        state, _ = trained(part, train=train)
        network = finished_network(state, MODEL, input_shape=SHAPE, classes=10)
        found = validate(network, part, eps=(0.5,))
        assert found["clean_accuracy"] > 0.9
        certified.append(found["estimated_certified_accuracy"][0])
    assert certified[1] > certified[0] + 0.05


@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 0.5), ("muon", 1e6), ("muon", 1e30)])
def test_a_learning_rate_that_is_too_large_is_refused_by_name(digits, optimizer, rate):
    part, _ = digits
    train = TrainSpec(epochs=2, batch_size=64, optimizer=optimizer, learning_rate=rate)
    with pytest.raises(CertifyError, match=r"epoch \d+, step \d+: .*lower train.learning_rate"):
        trained(part, train=train)


@pytest.mark.parametrize(("optimizer", "rates"), [("adam", (1e-4, 1e-2)), ("muon", (1e-3, 0.8))])
def test_projections_come_more_often_where_matrices_drift(digits, optimizer, rates):
    part, _ = digits
    intervals = []
    for rate in rates:
        train = TrainSpec(epochs=6, batch_size=64, optimizer=optimizer, learning_rate=rate)
        state, _ = trained(part, train=train, epochs=2)
        intervals.append(int(load(state)["progress"][2]))
    assert intervals[0] == 8
    assert intervals[1] < 8


def test_a_steep_start_of_wide_layers_is_survived(digits):
    part, _ = digits
    model = MlpSpec(widths=(256, 256))
    train = ADAM.model_copy(update={"learning_rate": 8e-3, "warm_up": 0.0})
    _, history = trained(part, model, train)
    assert history[-1]["loss"] < history[0]["loss"]


def test_a_network_that_no_file_can_hold_is_refused_before_it_is_made(digits):
    part, _ = digits
    huge = MlpSpec(widths=(2_000_000, 2_000_000))  # 16 TB of weights
    with pytest.raises(JobError, match=r"'mlp': found 4,000,\d.* parameters; accepted are fewer t"):
        start_training(huge, TRAIN, part, classes=10, seed=0)


def test_the_wrong_epoch_is_refused(digits):
    part, _ = digits
    state = start_training(MODEL, TRAIN, part, classes=10, seed=0)
    with pytest.raises(CertifyError, match="0 epochs behind it, not 1"):
        train_epoch(state, MODEL, TRAIN, part, classes=10, seed=0, epoch=1, device="cpu")


def test_a_state_that_does_not_fit_is_refused(digits):
    part, _ = digits
    state = start_training(MODEL, TRAIN, part, classes=10, seed=0)
    with pytest.raises(CertifyError, match="does not fit the model"):
        finished_network(state, MlpSpec(widths=(32, 25)), input_shape=SHAPE, classes=10)
    with pytest.raises(CertifyError, match="does not fit the model"):
        finished_network(state, LINEAR, input_shape=SHAPE, classes=10)
    with pytest.raises(CertifyError, match="cannot be read"):
        finished_network(b"nonsense", MODEL, input_shape=SHAPE, classes=10)


def test_empty_splits_are_refused(digits):
    part, _ = digits
    none = part.take(slice(0, 0))
    state = start_training(MODEL, TRAIN, part, classes=10, seed=0)
    with pytest.raises(CertifyError, match="no example"):
        start_training(MODEL, TRAIN, none, classes=10, seed=0)
    with pytest.raises(CertifyError, match="no example"):
        train_epoch(state, MODEL, TRAIN, none, classes=10, seed=0, epoch=0, device="cpu")
    network = finished_network(state, MODEL, input_shape=SHAPE, classes=10)
    with pytest.raises(CertifyError, match="no example"):
        validate(network, none, eps=(0.5,))


def test_the_estimate_agrees_with_the_slow_formula_and_any_batch_size(digits):
    part, held_out = digits
    state, _ = trained(part)
    network = finished_network(state, MODEL, input_shape=SHAPE, classes=10)
    eps = (0.1, 0.3)
    found = validate(network, held_out, eps=eps, batch_size=100)
    assert found == validate(network, held_out, eps=eps, batch_size=7)
    head = network[-1].weight.detach()
    radii = []
    for z, y in zip(
        network(torch.tensor(held_out.inputs())).detach(), held_out.labels, strict=True
    ):
        rivals = [j for j in range(10) if j != y]
        radii.append(min(float((z[y] - z[j]) / (head[y] - head[j]).norm()) for j in rivals))
    assert found["clean_accuracy"] == pytest.approx(np.mean(np.array(radii) > 0))
    for e, share in zip(eps, found["estimated_certified_accuracy"], strict=True):
        assert share == pytest.approx(np.mean(np.array(radii) > e))


EVERY_OPTION = TrainSpec(
    epochs=4,
    batch_size=64,
    accumulate=3,
    schedule="cosine",
    augment=AugmentSpec(shift=1, flip=True, cutout=2, operations=2),
    average=AverageSpec(start=0.4, decay=0.98),
)


def test_a_run_with_every_option_that_is_cut_off_ends_with_the_same_bits(digits):
    part, _ = digits
    whole, history = trained(part, train=EVERY_OPTION)
    state = start_training(MODEL, EVERY_OPTION, part, classes=10, seed=0)
    for epoch in range(4):
        kept = bytes(bytearray(state))
        state, metrics = train_epoch(
            kept, MODEL, EVERY_OPTION, part, classes=10, seed=0, epoch=epoch, device="cpu"
        )
        assert metrics == history[epoch]
    assert state == whole
    assert any(name.startswith("average.") for name in load(state))


def test_parts_of_a_batch_give_the_whole_batchs_gradient(digits):
    part, _ = digits
    some = part.take(slice(0, 64))
    train = TrainSpec(epochs=1, batch_size=64)
    whole, metrics = trained(some, train=train)
    parts, other = trained(some, train=train.model_copy(update={"accumulate": 5}))
    for name, value in load(whole).items():
        torch.testing.assert_close(load(parts)[name], value, atol=2e-4, rtol=0)
    assert other[0]["loss"] == pytest.approx(metrics[0]["loss"], rel=1e-5)


def test_the_mean_of_the_last_steps_is_what_ships(digits):
    part, _ = digits
    some = part.take(slice(0, 128))
    train = TrainSpec(epochs=4, batch_size=128, average=AverageSpec(start=0.5))
    # one step an epoch, and averaging begins with the third
    states = [load(trained(some, train=train, epochs=epochs)[0]) for epochs in (1, 2, 3, 4)]
    assert not any(name.startswith("average.") for name in states[1])
    for name, found in states[3].items():
        if name.startswith("average."):
            key = name.replace("average.", "network.")
            torch.testing.assert_close(found, (states[2][key] + states[3][key]) / 2)
    state, _ = trained(some, train=train)
    network = finished_network(state, MODEL, input_shape=SHAPE, classes=10)
    assert torch.equal(network[-1].weight, states[3]["average.head.weight"])
    for layer in network[1:-1]:
        if isinstance(layer, nn.Linear):
            assert drift(layer.weight.detach().double()) < 1e-6


def test_averages_count_the_newest_by_their_number_and_by_their_decay():
    plain = AverageSpec(start=0.5)
    shares = [newest_share(step, total=10, spec=plain) for step in range(10)]
    assert shares == [0, 0, 0, 0, 0, 1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    fading = AverageSpec(start=0.0, decay=0.75)
    shares = [newest_share(step, total=10, spec=fading) for step in range(5)]
    assert shares == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 4]


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warm_up", [0.0, 0.1, 0.99])
@pytest.mark.parametrize("total", [1, 7, 100])
def test_a_schedule_rises_to_its_peak_and_never_stands_still_at_0(schedule, warm_up, total):
    told = {"total": total, "warm_up": warm_up, "schedule": schedule}
    factors = [rate_factor(step, **told) for step in range(total)]
    peak = factors.index(max(factors))
    assert max(factors) == 1
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_the_half_wave_is_at_the_half_in_its_middle():
    assert rate_factor(50, total=100, warm_up=0.0, schedule="cosine") == pytest.approx(0.5)
    assert rate_factor(99, total=100, warm_up=0.0, schedule="cosine") < 3e-4


def test_bfloat16_is_for_the_forward_pass_and_muons_products(digits, monkeypatch):
    part, _ = digits
    cast = []
    turn = Muon.step
    monkeypatch.setattr(Muon, "step", lambda self: cast.append(self.param_groups[1]) or turn(self))
    trained(part, train=TRAIN.model_copy(update={"precision": "bfloat16"}))
    assert cast
    assert all(group["bfloat16"] for group in cast)


def test_weights_and_moments_stay_float32_under_bfloat16(digits):
    part, _ = digits
    train = TRAIN.model_copy(update={"precision": "bfloat16"})
    state, history = trained(part, train=train)
    assert history[-1]["loss"] < history[0]["loss"]
    assert {value.dtype for name, value in load(state).items() if name != "progress"} == {
        torch.float32
    }
    assert state != trained(part)[0]


def test_a_head_that_is_lost_in_the_last_step_is_named(digits):
    part, _ = digits
    train = TrainSpec(epochs=1, batch_size=2000, learning_rate=1e39, warm_up=0.0)
    with pytest.raises(CertifyError, match=r"epoch 0, step 0: head.* not finite; lower"):
        trained(part, LINEAR, train)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains(digits, name):
    part, held_out = digits
    train = TrainSpec(epochs=4, batch_size=64, for_eps=0.25, loss={"name": name})
    state, history = trained(part, train=train)
    assert history[-1]["loss"] < history[0]["loss"]
    network = finished_network(state, MODEL, input_shape=SHAPE, classes=10)
    found = validate(network, held_out, eps=(0.25,))
    assert found["clean_accuracy"] > (0.5 if name == "kr" else 0.75)
    assert found["estimated_certified_accuracy"][0] > (0.2 if name == "kr" else 0.5)
