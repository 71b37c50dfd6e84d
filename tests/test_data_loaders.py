# Generated from nbs/19_data.loaders.ipynb; edit the notebook, not this file
import torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.torch_core import default_device
from stereo_kd.core import denormalize
from stereo_kd.data.synthetic import SyntheticPairs
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.data.loaders import *

def test_batches_keep_the_contract():
    test_eq(StereoDataLoaders.sources()['synthetic'], StereoDataLoaders.from_synthetic)
    dls = StereoDataLoaders.from_synthetic(8, 5, (32,64), bs=2)
    left,right,disp,valid = dls.train.one_batch()
    test_eq([tuple(t.shape) for t in (left,right,disp,valid)], [(2,3,32,64)]*2+[(2,32,64)]*2)
    test_eq([disp.dtype,valid.dtype], [torch.float32,torch.bool]); assert disp[~valid].eq(0).all()
    test_eq([len(dls.train), len(dls.valid), dls.train.n_inp], [4,3,2])

def test_epochs_are_new_and_repeatable():
    def lefts(dls, epoch): dls.train.epoch = epoch; return torch.cat([b[0] for b in dls.train])
    a,b = (StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, seed=3) for _ in range(2))
    test_eq(lefts(a, 1), lefts(b, 1))
    first = lefts(a, 0); assert all((x-y).abs().mean()>.01 for x in first for y in lefts(a, 1))
    assert (lefts(StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, seed=4), 0)-first).abs().mean()>.01
    va,vb = (torch.cat([b[0] for b in d.valid]) for d in (a,b)); test_eq(va, vb)

def test_finite_sets_are_shuffled_by_epoch():
    dl = StereoDL(SyntheticPairs(30, (32,64)), bs=2, seed=1)
    orders = []
    for e in (0,1,0): dl.epoch = e; orders.append(dl.get_idxs())
    test_eq(orders[0], orders[2]); test_ne(orders[0], orders[1]); test_eq(sorted(orders[1]), list(range(30)))

def test_show_batch_draws_three_rows():
    import matplotlib.pyplot as plt
    StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2).train.show_batch(max_n=2)
    test_eq(len(plt.gcf().axes), 6); plt.close()
