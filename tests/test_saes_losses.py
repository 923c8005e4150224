import numpy as np
import pytest
import torch

from geointerp.saes.active import Active, Decoded
from geointerp.saes.architectures import build
from geointerp.saes.losses import largest, loss


def made(architecture, *, size=24, width=96, k=5, seed=0):
    torch.manual_seed(seed)
    autoencoder = build(
        architecture, size=size, width=width, k=k, device=torch.device("cpu"), about={}
    )
    with torch.no_grad():
        for name, parameter in autoencoder.named_parameters():
            if name in ("b_enc", "b_dec"):
                parameter.normal_(0, 0.1)
        # lengths that change which are largest
        autoencoder.W_dec.mul_(torch.rand(width, 1) + 0.5)
    return autoencoder


def theirs(autoencoder, inputs, dead, coefficients):
    from sae_lens.saes.sae import TrainStepInput

    autoencoder.zero_grad()
    output = autoencoder.training_forward_pass(
        TrainStepInput(
            sae_in=inputs,
            coefficients=coefficients,
            dead_neuron_mask=dead,
            n_training_steps=0,
            is_logging_step=False,
        )
    )
    output.loss.backward()
    return output


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka"])
@pytest.mark.parametrize("dying", [0, 3, 40])
@pytest.mark.parametrize("k", [5, 60])  # more than are above 0, too
def test_losses_and_gradients_are_sae_lens_own(architecture, dying, k):
    ours, other = (made(architecture, k=k).double() for _ in range(2))
    inputs = torch.randn(40, 24, generator=torch.Generator().manual_seed(1)).double()
    dead = torch.zeros(96, dtype=torch.bool)
    dead[torch.randperm(96, generator=torch.Generator().manual_seed(2))[:dying]] = True
    if architecture != "topk":
        # sae-lens begins its mean at nothing, ours at the first least value
        for autoencoder in (ours, other):
            autoencoder.topk_threshold += 0.5
    wanted = theirs(other, inputs, dead, {})
    found = loss(ours, inputs, dead=dead, step=0, coefficients={})
    found.value.backward()
    torch.testing.assert_close(found.value, wanted.loss, rtol=1e-12, atol=0)
    assert (found.fired == (wanted.feature_acts > 0).any(0)).all()
    assert found.active == (wanted.feature_acts > 0).sum()
    for name, parameter in other.named_parameters():
        mine = dict(ours.named_parameters())[name].grad
        assert parameter.grad.abs().max() > 0
        torch.testing.assert_close(
            mine, parameter.grad, rtol=0, atol=1e-12 * float(parameter.grad.abs().max())
        )
    if architecture != "topk":
        assert float(ours.topk_threshold) != 0.5
        torch.testing.assert_close(ours.topk_threshold, other.topk_threshold, rtol=1e-12, atol=0)


def test_a_threshold_begins_at_the_first_least_value():
    ours = made("batchtopk", k=5)
    inputs = torch.randn(40, 24, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pre = (inputs - ours.b_dec) @ ours.W_enc + ours.b_enc
        least = (pre * ours.W_dec.norm(dim=1)).flatten().topk(5 * 40).values[-1]
    loss(ours, inputs, dead=torch.zeros(96, dtype=torch.bool), step=0, coefficients={})
    assert float(ours.topk_threshold) == pytest.approx(float(least), rel=1e-5)


@pytest.mark.parametrize("architecture", ["jumprelu", "gated", "standard"])
def test_other_losses_are_sae_lens_own(architecture):
    ours, other = (made(architecture) for _ in range(2))
    inputs = torch.randn(40, 24, generator=torch.Generator().manual_seed(1))
    dead = torch.zeros(96, dtype=torch.bool)
    dead[:7] = True
    coefficients = dict.fromkeys(ours.get_coefficients(), 0.3)
    wanted = theirs(other, inputs, dead, coefficients)
    found = loss(ours, inputs, dead=dead, step=0, coefficients=coefficients)
    assert found.value == wanted.loss
    assert found.active == (wanted.feature_acts > 0).sum()


@pytest.mark.parametrize(
    ("n", "count", "k"), [(40, 1024, 16), (7, 96, 2), (3, 50, 9), (1, 6144, 37)]
)
def test_the_largest_are_found_by_groups(n, count, k):
    values = torch.randn(n, count, generator=torch.Generator().manual_seed(0))
    values[:, : count // 3] += 2  # neighbours
    wanted = values.topk(k, dim=1).indices
    np.testing.assert_array_equal(largest(values, k).sort(1).values, wanted.sort(1).values)
    # of equals, each is taken once
    ties = largest(torch.zeros(n, count), k)
    assert all(len(set(row)) == k for row in ties.tolist())


def test_rows_without_latents_decode_to_nothing():
    # of 4 rows × 5 latents, the second and the last row have none
    chosen = torch.tensor([12, 2, 0])
    active = Active.of_batch(chosen, 4, 5)
    assert active.offsets.tolist() == [0, 2, 2, 3, 3]
    assert active.latent.tolist() == [0, 2, 2]
    assert active.row.tolist() == [0, 0, 2]
    value = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    w_dec = torch.arange(10.0).reshape(5, 2).requires_grad_()
    out = Decoded.apply(value, w_dec, active)
    np.testing.assert_array_equal(out.detach(), [[0 + 8, 1 + 10], [0, 0], [12, 15], [0, 0]])
    (out * torch.tensor([[1.0, 0], [5, 5], [0, 1], [5, 5]])).sum().backward()
    assert value.grad.tolist() == [0, 4, 5]
    assert w_dec.grad.tolist() == [[1, 0], [0, 0], [2, 3], [0, 0], [0, 0]]
