import math

import cv2
import numpy as np
import pytest
import torch

from depth_perception.focus_render import render_stack as numpy_stack
from depth_perception.optics import LARGE_F_NUMBERS, SMALL_F_NUMBERS, Lens, OpticsError
from training.focus_render import fill_holes, render_stack, signed_radius_px
from training.losses import build_loss

DISTANCES = (0.4, 0.6, 1.6, 6.0)        # the first is nearer than anything in the scene


def picture(height=60, width=80, seed=0):
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.uniform(0, 255, (9, 12, 3)), (width, height),
                        interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 25, coarse.shape), 0, 255).astype(np.uint8)


def scene_depth(height=60, width=80):
    depth = np.repeat(np.linspace(0.7, 7.0, width, dtype=np.float32)[None], height, axis=0)
    depth[10:30, 20:40] = 0.5
    depth[40:45, 50:60] = np.nan
    return depth


def batch(*lenses, device='cpu', dtype=torch.float32):
    """A different picture for each lens, as render_stack takes them."""
    image = np.stack([picture(seed=i) for i in range(len(lenses))])
    return {'image': torch.from_numpy(image).permute(0, 3, 1, 2).to(device, dtype) / 255,
            'depth': torch.from_numpy(scene_depth()).expand(len(lenses), 1, -1, -1).to(device),
            'focus_distances': torch.tensor([DISTANCES] * len(lenses), device=device),
            'blur_scale': torch.tensor([lens.blur_scale_px_m for lens in lenses], device=device),
            'focal_length': torch.tensor([lens.focal_length_m for lens in lenses],
                                         device=device)}


def as_pictures(stack):
    """(N, 3, H, W) 0..1 as (N, H, W, 3) 0..255."""
    return 255 * stack.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()


def lens(f_number):
    return Lens.full_frame(320, 240, 290.0, f_number)


@pytest.mark.parametrize('psf', ['gaussian', 'disc'])
@pytest.mark.parametrize('occlusion', [False, True])
@pytest.mark.parametrize('gamma', [1.0, 2.2])
@pytest.mark.parametrize('gradient', [True, False], ids=['gradient', 'no gradient'])
def test_torch_and_numpy_render_the_same_stacks(psf, occlusion, gamma, gradient):
    lenses = (lens(1.4), lens(4.0), lens(14.0), lens(math.inf))
    inputs = batch(*lenses)
    inputs['blur_scale'].requires_grad_(gradient)
    stacks = render_stack(**inputs, psf=psf, occlusion=occlusion, gamma=gamma)
    assert stacks.shape == (4, 4, 3, 60, 80) and stacks.dtype == torch.float32
    assert stacks.requires_grad == gradient
    for i, (stack, one) in enumerate(zip(stacks.detach(), lenses)):
        expected = numpy_stack(picture(seed=i), scene_depth(), DISTANCES, one, psf, occlusion,
                               gamma)
        error = np.abs(as_pictures(stack) - expected)
        # half a grey level is the rounding of the other
        assert error.max() < 2.0 and error.mean() < 0.3


@pytest.mark.parametrize('psf', ['gaussian', 'disc'])
@pytest.mark.parametrize('occlusion', [False, True])
@pytest.mark.parametrize('gamma', [1.0, 2.2])
@pytest.mark.parametrize('gradient', [True, False], ids=['gradient', 'no gradient'])
def test_f_number_infinity_is_the_all_in_focus_image_also_beside_others(psf, occlusion, gamma,
                                                                        gradient):
    inputs = batch(lens(2.0), lens(math.inf))
    inputs['blur_scale'].requires_grad_(gradient)
    stacks = render_stack(**inputs, psf=psf, occlusion=occlusion, gamma=gamma)
    assert torch.equal(stacks[1], inputs['image'][1].expand(4, -1, -1, -1))
    assert not torch.equal(stacks[0, 0], inputs['image'][0])


@pytest.mark.parametrize('f_number', [*LARGE_F_NUMBERS, *SMALL_F_NUMBERS])
def test_each_f_number_of_the_paper_renders_as_numpy_does(f_number):
    one = lens(f_number)
    stack = render_stack(**batch(one))[0]
    expected = numpy_stack(picture(), scene_depth(), DISTANCES, one)
    assert np.abs(as_pictures(stack) - expected).max() < 1.0


def test_a_batch_is_the_same_as_its_items_alone():
    lenses = (lens(1.4), lens(8.0))
    inputs = batch(*lenses)
    inputs['blur_scale'].requires_grad_()       # or each slice would be rendered alone anyway
    together = render_stack(**inputs, occlusion=True)
    for i in range(2):
        alone = render_stack(**{key: value[i:i + 1] for key, value in inputs.items()},
                             occlusion=True)
        torch.testing.assert_close(together[i:i + 1], alone, atol=2e-3, rtol=0)


def test_without_a_focal_length_the_blur_follows_equation_2():
    depth = torch.tensor([0.5, 1.0, 4.0]).reshape(1, 1, 1, 3).expand(1, 1, 200, 3)
    depth = depth.repeat(1, 1, 1, 70)
    focus, scale = torch.tensor([[0.8, 2.0]]), torch.tensor([6.0])
    radius = signed_radius_px(depth, focus, scale)
    assert radius.shape == (1, 2, 200, 210)
    torch.testing.assert_close(radius[0, :, 0, :3], torch.tensor(
        [[3 / 0.8 - 6, 3 / 0.8 - 3, 3 / 0.8 - 0.75], [1.5 - 6, 1.5 - 3, 1.5 - 0.75]]))
    exact = signed_radius_px(depth, focus, scale, 0.05)
    torch.testing.assert_close(exact[0, 0], radius[0, 0] / (1 - 0.05 / 0.8))


@pytest.mark.parametrize('psf', ['gaussian', 'disc'])
@pytest.mark.parametrize('occlusion', [False, True])
@pytest.mark.parametrize('gamma', [1.0, 2.2])
def test_gradients_are_those_of_finite_differences(psf, occlusion, gamma):
    torch.manual_seed(0)
    image = (0.1 + 0.8 * torch.rand(1, 3, 5, 7, dtype=torch.float64)).requires_grad_()
    depth = (1.0 + torch.rand(1, 1, 5, 7, dtype=torch.float64)).requires_grad_()
    focus = torch.tensor([[0.81, 2.53]], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([3.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *inputs: render_stack(*inputs, psf=psf, occlusion=occlusion, gamma=gamma),
        (image, depth, focus, scale), eps=1e-6, atol=1e-4, nondet_tol=1e-9, fast_mode=True)


def test_depth_can_be_found_by_descent_through_the_renderer():
    """A wall of unknown depth: its stack of blurred pictures tells the depth."""
    image = torch.from_numpy(picture(40, 40)).permute(2, 0, 1)[None] / 255
    focus, scale = torch.tensor([[0.6, 1.5, 5.0]]), torch.tensor([12.0])
    seen = render_stack(image, torch.full((1, 1, 40, 40), 1.2), focus, scale)
    guess = torch.tensor(0.7).log().requires_grad_()
    descent = torch.optim.Adam([guess], lr=0.05)
    for _ in range(60):
        descent.zero_grad()
        stack = render_stack(image, guess.exp().expand(1, 1, 40, 40), focus, scale)
        (stack - seen).square().mean().backward()
        descent.step()
    assert guess.exp().item() == pytest.approx(1.2, rel=0.03)


@pytest.mark.parametrize('occlusion', [False, True])
@pytest.mark.parametrize('value', [math.nan, math.inf, 0.0, -3.0])
def test_holes_are_1000_m_away_and_have_no_gradient(value, occlusion):
    inputs = batch(lens(1.4))
    hole = ~torch.isfinite(inputs['depth'])
    far = torch.where(hole, 1000.0, inputs['depth'])
    inputs['depth'] = torch.where(hole, value, inputs['depth']).requires_grad_()
    stack = render_stack(**inputs, occlusion=occlusion)
    filled = render_stack(**{**inputs, 'depth': far.requires_grad_()}, occlusion=occlusion)
    assert torch.equal(stack, filled)
    stack.square().sum().backward()
    gradient = inputs['depth'].grad
    assert torch.isfinite(gradient).all()
    assert not gradient[hole].any() and gradient[~hole].any()


def test_the_mask_of_filled_holes_keeps_them_out_of_the_loss():
    depth = torch.from_numpy(scene_depth())[None, None]
    filled, valid = fill_holes(depth)
    assert filled[~valid].unique().tolist() == [1000.0] and (~valid).sum() == 50
    torch.testing.assert_close(filled[valid], depth[valid])
    loss, image = build_loss('silog'), torch.rand(1, 3, 60, 80)
    prediction = torch.zeros_like(depth).requires_grad_()
    masked = torch.where(valid, filled, torch.nan)
    expected = loss(prediction, depth, image)
    torch.testing.assert_close(loss(prediction, masked, image), expected)
    expected.backward()
    assert not prediction.grad[~valid].any()


@pytest.mark.parametrize('occlusion', [False, True])
def test_a_depth_map_of_holes_alone_renders_and_costs_nothing(occlusion):
    inputs = batch(lens(1.4))
    inputs['depth'] = torch.full_like(inputs['depth'], math.nan)
    stack = render_stack(**inputs, occlusion=occlusion)
    assert torch.isfinite(stack).all()
    prediction = torch.zeros_like(inputs['depth']).requires_grad_()
    loss = build_loss('silog')(prediction, inputs['depth'], inputs['image'])
    loss.backward()
    assert torch.isfinite(loss) and not prediction.grad.any()


def test_half_precision_comes_back_as_it_was():
    stack = render_stack(**batch(lens(1.4), dtype=torch.float16))
    assert stack.dtype == torch.float16
    torch.testing.assert_close(stack.float(), render_stack(**batch(lens(1.4))), atol=2e-3, rtol=0)


def test_what_is_absurdly_near_stays_finite():
    inputs = batch(lens(1.4))
    inputs['depth'] = torch.where(inputs['depth'] < 0.6, 1e-6, inputs['depth']).requires_grad_()
    stack = render_stack(**inputs, occlusion=True)
    stack.sum().backward()
    assert torch.isfinite(stack).all() and torch.isfinite(inputs['depth'].grad).all()


@pytest.mark.parametrize('focus_m', [0.0, -1.0, math.nan, 0.01])
def test_a_focus_distance_inside_the_focal_length_is_refused(focus_m):
    inputs = batch(lens(1.4))
    inputs['focus_distances'] = torch.tensor([[1.0, focus_m]])
    with pytest.raises(OpticsError, match='focus distances are .* beyond the focal length'):
        render_stack(**inputs)


@pytest.mark.parametrize('scale', [-1.0, math.nan, math.inf])
def test_a_blur_scale_that_no_lens_has_is_refused(scale):
    with pytest.raises(OpticsError, match='blur scales .* finite and at least 0'):
        render_stack(**{**batch(lens(1.4)), 'blur_scale': torch.tensor([scale])})


def test_other_bad_inputs_are_refused_with_what_they_must_be():
    inputs = batch(lens(1.4))
    for key, value in (('image', inputs['image'][0]), ('image', inputs['image'][:, :1]),
                       ('depth', inputs['depth'][..., :-1]), ('depth', inputs['depth'][:, 0]),
                       ('focus_distances', inputs['focus_distances'][0]),
                       ('blur_scale', torch.tensor([1.0, 2.0]))):
        with pytest.raises(OpticsError, match=r'must be \(B, 3, H, W\)'):
            render_stack(**{**inputs, key: value})
    with pytest.raises(OpticsError, match='choose one of gaussian, disc'):
        render_stack(**inputs, psf='box')
    with pytest.raises(OpticsError, match='gamma is -1'):
        render_stack(**inputs, gamma=-1.0)


@pytest.mark.gpu
@pytest.mark.parametrize('psf', ['gaussian', 'disc'])
@pytest.mark.parametrize('occlusion', [False, True])
def test_a_gpu_renders_what_the_processor_does(psf, occlusion):
    if not torch.cuda.is_available():
        pytest.skip('no GPU')
    lenses = (lens(1.4), lens(4.0), lens(math.inf))
    there = render_stack(**batch(*lenses, device='cuda'), psf=psf, occlusion=occlusion)
    assert there.is_cuda
    here = render_stack(**batch(*lenses), psf=psf, occlusion=occlusion)
    torch.testing.assert_close(there.cpu(), here, atol=1e-3, rtol=0)
