# Generated from nbs/17_data.transforms.ipynb; edit the notebook, not this file
import torch
import torchvision.transforms.v2.functional as TF
from torch.nn import functional as F
from stereo_kd.core import denormalize, pick
from stereo_kd.data.files import stack_items, to_item, Sample
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.data.files import warp_error
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.data.transforms import *

def test_each_transform_keeps_the_pair_rectified():
    rng = lambda k: torch.Generator().manual_seed(k)
    s = exact_scene()
    start = warp_error(s)
    assert start['truth']<.01<.1<start['zero'], start
    geometric = [
        RandomCrop((32,64)), RandomCrop((60,120)), HorizontalScale(p=1),
        HorizontalScale((.7,1.4), True, 1), VerticalFlip(1), SwapFlip(1)]
    for t in geometric:
        for k in range(3):
            r = t(s, rng(k))
            e = warp_error(r)
            assert r.valid.any()
            assert e['truth']<.02 and e['truth']<.2*e['zero'], (type(t).__name__, e)
            for shift in (-1,1): assert warp_error(r, shift)['truth']>2*e['truth']+.01, (type(t).__name__, shift)
            back = Sample(r.right.flip(-1), r.left.flip(-1), r.right_disp.flip(-1), r.right_valid.flip(-1))
            assert warp_error(back)['truth']<.02, type(t).__name__
    for t in (Color(.3, 0., p=1), Noise((.03,.03), 1), Blur((.5,.5), 1), EraseRight((5,10), p=1)):
        r = t(s, rng(0))
        e = warp_error(r)
        assert e['truth']<.5*e['zero'], (type(t).__name__, e)
        test_eq(r.disp, s.disp)

def test_vertical_offset_is_what_it_says():
    s = exact_scene()
    r = VerticalOffset(.8, 1)(s, torch.Generator().manual_seed(1))
    def moved(im, dy): # content down by dy, like the transform
        k = int(dy//1)
        f = dy-k
        rows = torch.arange(im.shape[1])
        row = lambda o: im[:,(rows-o).clamp(0, len(rows)-1)]
        return (1-f)*row(k)+f*row(k+1)
    tries = torch.linspace(-.8, .8, 33)
    fit = torch.tensor([(moved(s.right, d.item())-r.right).abs().mean() for d in tries])
    dy = tries[fit.argmin()].item()
    assert fit.min()<.005 and abs(dy)>.1, (dy, fit.min())
    inner = lambda im: s._replace(
        right=im, valid=s.valid & (torch.arange(48)>1)[:,None] & (torch.arange(48)<46)[:,None])
    assert warp_error(inner(moved(r.right, -dy)))['truth']<.6*warp_error(inner(r.right))['truth']
    test_eq(r.disp, s.disp)
    test_eq(r.left, s.left)

def test_sparse_truth_stays_sparse():
    s = exact_scene()
    keep = torch.rand(s.valid.shape, generator=torch.Generator().manual_seed(0))<.1
    sparse = s._replace(disp=s.disp*keep, valid=s.valid&keep)
    for t in (HorizontalScale((1.25,1.25), p=1), HorizontalScale((.8,.8), p=1)):
        r = t(sparse, torch.Generator())
        f = r.disp.shape[1]/96
        assert .07<r.valid.float().mean()<.12 and r.disp[~r.valid].eq(0).all()
        # no new values
        assert torch.isin(
            (r.disp[r.valid]/f*1e4).round(), (sparse.disp[sparse.valid]*1e4).round()).float().mean()>.99
    big = RandomCrop((60,120))(sparse, torch.Generator())
    test_eq(
        [tuple(big.left.shape), big.valid[48:].any().item(), big.valid[:,96:].any().item()],
        [(3,60,120),False,False])

def test_inputs_are_left_alone_and_errors_are_clear():
    s = exact_scene()
    before = [t.clone() for t in s]
    every = [
        RandomCrop((8,8)), HorizontalScale(p=1), VerticalFlip(1), SwapFlip(1), VerticalOffset(p=1),
        Color(p=1), Blur(p=1), Noise(p=1), EraseRight(p=1)]
    for t in every:
        a,b,c = (t(s, torch.Generator().manual_seed(k)) for k in (0,0,5))
        assert all(torch.equal(x,y) for x,y in zip(a, b)), type(t).__name__
        assert any(not torch.equal(x, y) if x.shape==y.shape else True for x,y in zip(a, s)), type(t).__name__
        if not isinstance(t, RandomCrop):
            never = type(t)(p=0)(s, torch.Generator())
            assert all(x is y for x,y in zip(never, s))
    assert all(torch.equal(x, y) for x,y in zip(before, s))
    test_eq(SwapFlip(1)(s._replace(right_disp=None, right_valid=None), torch.Generator()).left, s.left)
    for f,say in [
        (lambda: RandomCrop((0,5)), 'at least 1 px'),
        (lambda: HorizontalScale((2,1)), 'scales must be two numbers'),
        (lambda: Noise((-1,1)), 'sigma must be'), (lambda: VerticalOffset(9), 'px must be')]:
        test_fail(f, exc=ValueError, contains=say)

def test_truth_on_scan_lines():
    s = exact_scene(120, 240)
    for density in (1.,.5,.3,.05,.01):
        thin = LidarTruth(density)
        got = thin(s, torch.Generator().manual_seed(1))
        share = [got.valid.sum()/s.valid.sum(), got.right_valid.sum()/s.right_valid.sum()]
        test_close(share, [density]*2, eps=.12*density)
        assert not (got.valid & ~s.valid).any()
        test_eq(got.disp, torch.where(got.valid, s.disp, 0))
        test_eq([got.left,got.right], [s.left,s.right])
        assert density==1 or not torch.equal(got.valid, thin(s, torch.Generator().manual_seed(2)).valid)
    lines = LidarTruth(.04, top=.25, tilt=0.).pattern((120,240), torch.Generator().manual_seed(1))
    rows = lines.any(1).nonzero()[:,0]
    test_eq([rows.diff().unique().tolist(),rows.min().item()>=30], [[5],True]) # every fifth row, below a quarter
    test_eq({tuple(lines[r].nonzero()[:,0].diff().unique().tolist()) for r in rows}, {(5,)})
    test_fail(lambda: LidarTruth(0.), contains='got 0.0')
    test_fail(lambda: LidarTruth(top=1.), contains='got 1.0')

def test_pairs_are_made_once():
    made = []
    class Counted(SyntheticPairs):
        def batch(self, indices):
            made.extend(indices)
            return super().batch(indices)
    pairs = Counted(3, (32,64))
    kept = InMemory(pairs)
    test_eq([len(kept),kept.mask], [3,'all'])
    for _ in range(2): left,right,disp,valid = kept.batch([0,7,0]) # pair 7: of a later epoch
    test_eq(sorted(made), [0,7])
    test_fail(lambda: kept[3], exc=IndexError, contains='no pair 3 among 3')
    test_eq(kept[-3][2], disp[0])
    fresh = SyntheticPairs(3, (32,64)).batch([0,7,0])
    for got,want in zip((left,right,disp,valid), fresh): test_close(got.float(), want.float(), eps=1e-5)
    a,b = (Augmented(d, augment('light', (16,32)), seed=1, n=4) for d in (kept,SyntheticPairs(3, (32,64))))
    for got,want in zip(a[3], b[3]): test_close(got.float(), want.float(), eps=1e-5)

def test_augmented_is_a_function_of_seed_and_index():
    class Scenes:
        def __len__(self): return 3
        def sample(self, i): return exact_scene(seed=i)
    a,b,c = (Augmented(Scenes(), augment('standard', (32,64)), seed) for seed in (0,0,1))
    for i in (0,2,7): assert all(torch.equal(x, y) for x,y in zip(a[i], b[i]))
    assert not torch.equal(a[0][0], a[3][0]) and not torch.equal(a[0][0], c[0][0]) # another epoch, another seed
    test_eq(
        [len(a), len(Augmented(Scenes(), [], n=50)), tuple(a.batch([0,4])[2].shape), a.mask],
        [3,50,(2,32,64),'all'])
    plain = Augmented(Scenes(), [])[4]
    test_eq(plain[2], exact_scene(seed=1).disp)
    for i in range(12): assert warp_error(a.sample(i))['truth']<.1 # asymmetric colour and noise included
    test_fail(lambda: a[-1], exc=IndexError, contains='numbered from 0')
    test_fail(lambda: augment('hard'), exc=ValueError, contains="unknown strength of augmentation 'hard'")
    test_eq([type(t).__name__ for t in augment('light', (8,8))], ['RandomCrop','Color','Noise'])
