# Generated from nbs/19_data.loaders.ipynb; edit the notebook, not this file
import matplotlib.pyplot as plt
import torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.torch_core import default_device, TensorImage, TensorImageBase
from fastcore.basics import patch
from fastcore.foundation import L
from stereo_kd.core import denormalize, normalize
from stereo_kd.data.eth3d import eth3d
from stereo_kd.data.files import stack_items, PairFiles
from stereo_kd.data.folder import folder
from stereo_kd.data.io import read_image
from stereo_kd.data.kitti import kitti2012, kitti2015
from stereo_kd.data.middlebury import middlebury
from stereo_kd.data.sceneflow import sceneflow
from stereo_kd.data.scenes import keep_scenes, ScenePairs
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.data.transforms import augment, Augmented
from stereo_kd.metrics import epe, final_disparity
from torch import Tensor
import tempfile, warnings
import numpy as np
from fastcore.test import *
from pathlib import Path
from stereo_kd.data.files import PairFile
from stereo_kd.data.io import write_disparity
import cv2
import pytest
from stereo_kd.data.loaders import *

def test_crops_of_few_pairs():
    train,valid = SyntheticPairs(3, (64,128), 3, 48),SyntheticPairs(2, (50,130), 4, 48)
    for mix,share in ((0.,0),(.5,.5)):
        dls = crop_loaders(train, valid, 8, (32,96), 2, mix, 0, 48)
        test_eq((len(dls.train),dls.train.one_batch()[0].shape,len(dls.valid)), (4,(2,3,32,96),2))
        test_eq(dls.valid.one_batch()[0].shape[-2:], (50,130))
        embedded = dls.train.dataset.datasets[1]
        test_eq((embedded.name,embedded.seed,embedded.max_disp), ('scenes',1,48))
        draws = dls.train.dataset.weights
        test_close(draws[1]/draws.sum(), share)
    flat = SyntheticPairs(1, (32,96), 5, 48)
    assert crop_loaders(train, valid, 8, (32,96), others=flat).train.dataset.datasets[1] is flat
    a,b = (crop_loaders(train, valid, 8, (32,96), seed=s).train.dataset.batch([0,1])[0] for s in (0,0))
    test_eq(a, b)
    assert (a!=crop_loaders(train, valid, 8, (32,96), seed=1).train.dataset.batch([0,1])[0]).any()
    check_mix(.5)
    for mix in (1.,-.1): test_fail(lambda: crop_loaders(train, valid, 8, mix=mix), exc=ValueError, contains='mix must be in [0,1)')

def test_batches_keep_the_contract():
    test_eq(StereoDataLoaders.sources()['synthetic'], StereoDataLoaders.from_synthetic)
    dls = StereoDataLoaders.from_synthetic(8, 5, (32,64), bs=2)
    left,right,disp,valid = dls.train.one_batch()
    test_eq([tuple(t.shape) for t in (left,right,disp,valid)], [(2,3,32,64)]*2+[(2,32,64)]*2)
    test_eq([disp.dtype,valid.dtype], [torch.float32,torch.bool])
    assert disp[~valid].eq(0).all()
    test_eq([len(dls.train), len(dls.valid), dls.train.n_inp], [4,3,2])

def test_epochs_are_new_and_repeatable():
    def lefts(dls, epoch):
        dls.train.epoch = epoch
        return torch.cat([b[0] for b in dls.train])
    a,b = (StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, seed=3) for _ in range(2))
    test_eq(lefts(a, 1), lefts(b, 1))
    first = lefts(a, 0)
    assert all((x-y).abs().mean()>.01 for x in first for y in lefts(a, 1))
    assert (lefts(StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, seed=4), 0)-first).abs().mean()>.01
    less = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, seed=3, without=['noise'])
    assert 0<(lefts(less, 0)-first).abs().mean()<.2
    test_eq([less.train_ds.without,less.valid_ds.without], [('noise',),()])
    va,vb = (torch.cat([b[0] for b in d.valid]) for d in (a,b))
    test_eq(va, vb)

def test_scenes_are_made_or_kept():
    def lefts(dls, epoch):
        dls.train.epoch = epoch
        return torch.cat([b[0] for b in dls.train])
    kw = dict(n_train=3, n_valid=2, size=(24,48), bs=1, without=['mirrors'])
    made = StereoDataLoaders.from_scenes(**kw)
    test_eq([len(made.train), len(made.valid), made.train_ds.without, made.valid_ds.without], [3,2,('mirrors',),()])
    told = StereoDataLoaders.from_scenes(sky=True, **kw)
    test_eq([d.sky for dls in (made,told) for d in (dls.train_ds,dls.valid_ds)], [False,False,True,True])
    test_eq([tuple(t.shape) for t in made.train.one_batch()], [(1,3,24,48)]*2+[(1,24,48)]*2)
    first = lefts(made, 0)
    assert all((x-y).abs().mean()>.01 for x in first for y in lefts(made, 1))
    with tempfile.TemporaryDirectory() as place:
        for _ in range(2): # the second time they are there
            kept = StereoDataLoaders.from_scenes(folder=place, **kw)
            one,two = lefts(kept, 0),lefts(kept, 1)
            close = [min(range(3), key=lambda k: (x-first[k]).abs().mean()) for x in one]
            test_eq(sorted(close), [0,1,2]) # the same pairs in another order
            for x,k in zip(one, close): test_eq(x, first[k])
        like = lambda x,y: torch.corrcoef(torch.stack([x.flatten(),y.flatten()]))[0,1]
        again = [max(like(x, y) for y in one) for x in two]
        assert all(.8<a<.9999 for a in again), again # the same scenes, photographed anew
        fewer = StereoDataLoaders.from_scenes(folder=place, **kw|dict(n_train=2))
        test_eq([len(fewer.train), len(list(Path(place).glob('*.pair')))], [2,3])
    test_eq(StereoDataLoaders.sources()['scenes'], StereoDataLoaders.from_scenes)
    mix = Mixed([StereoDataLoaders.from_synthetic(2, 1, (24,48)).train_ds, made.train_ds], (1,1))
    test_eq(mix[0], mix[0])

def test_finite_sets_are_shuffled_by_epoch():
    dl = StereoDL(PairFiles([PairFile('l', 'r')]*30), bs=2, seed=1)
    orders = []
    for e in (0,1,0):
        dl.epoch = e
        orders.append(dl.get_idxs())
    test_eq(orders[0], orders[2])
    test_ne(orders[0], orders[1])
    test_eq(sorted(orders[1]), list(range(30)))

def test_augmentation_is_a_function_of_seed_and_epoch():
    class Ramp: # pair i is a picture of brightness i
        def __len__(self): return 4
        def sample(self, i):
            return Sample(*[torch.full((3,8,8), i/4)]*2, torch.ones(8,8), torch.ones(8,8,dtype=torch.bool))
    from stereo_kd.data.files import Sample
    def loader(seed=0): return StereoDL(Augmented(Ramp(), augment('standard', (4,4)), seed), bs=2, seed=seed)
    def epoch(dl, e):
        dl.epoch = e
        return torch.cat([b[0] for b in dl])
    a,b = loader(),loader()
    test_eq(epoch(a, 1), epoch(b, 1))
    test_ne(epoch(a, 0), epoch(b, 1))
    test_ne(epoch(a, 0), epoch(loader(1), 0))
    dl = loader()
    dl.epoch = 2
    test_eq(sorted(dl.get_idxs()), [8,9,10,11])
    for i,b in enumerate(dl): test_eq(dl.dataset.batch(dl.batch_indices(i))[0], b[0])

def test_mixed_keeps_the_shares():
    class Constant:
        endless = True
        def __init__(self, v): self.v = v
        def __len__(self): return 5
        def batch(self, i):
            return torch.full((1,3,2,2), self.v),torch.full(
                (1,3,2,2), float(i[0])),torch.ones(1,2,2),torch.ones(1,2,2,dtype=torch.bool)
    mix = Mixed([Constant(0.), Constant(1.)], (1,3), 400)
    values = mix.batch(range(400))[0][:,0,0,0]
    assert 270<values.sum()<330, values.sum()
    test_eq([len(mix), len(Mixed([Constant(0.)]*2, (1,1)))], [400,10])
    test_eq(mix[7][1], mix[7][1])
    test_ne(mix[7][1], Mixed([Constant(0.), Constant(1.)], (1,3), 400, seed=1)[7][1])
    for args,say in [
        (([Constant(0.)], (1,2)), '1 data sets have 2 weights'),
        (([PairFiles([])], (1,)), 'PairFiles is not endless'), (([Constant(0.)], (-1,)), 'not negative')]:
        test_fail(lambda: Mixed(*args), exc=ValueError, contains=say)

def test_files_to_batches():
    with tempfile.TemporaryDirectory() as d:
        for i in range(6):
            for v in ('left','right'):
                p = Path(d)/v/f'{i}.png'
                p.parent.mkdir(exist_ok=True)
                cv2.imwrite(str(p), np.random.default_rng(i).integers(0, 255, (40+i%2,60,3), dtype=np.uint8))
            write_disparity(Path(d)/'disp'/f'{i}.pfm', np.full((40+i%2,60), 3+i, 'float32'))
        dls = StereoDataLoaders.from_folder(d, size=(32,48), bs=2, n_train=8)
        test_eq([len(dls.train), len(dls.valid), dls.train_ds.mask], [4,1,'all<192'])
        left,right,disp,valid = dls.train.one_batch()
        test_eq([tuple(left.shape), tuple(disp.shape)], [(2,3,32,48),(2,32,48)])
        test_eq([tuple(b[0].shape) for b in dls.valid], [(1,3,40,60)])
        test_eq(dls.valid.one_batch()[2].unique().tolist(), [7.])
        with_workers = StereoDataLoaders.from_folder(d, size=(32,48), bs=2, n_train=8, num_workers=2)
        for a,b in zip(dls.train, with_workers.train, strict=True): test_eq(a[0], b[0])
        test_eq(StereoDataLoaders.sources()['folder'], StereoDataLoaders.from_folder)
    one = PairFiles([PairFile('views/l.png', 'r', name='a')])
    test_fail(lambda: every_fifth(one), exc=ValueError, contains='1 usable pair (views/l.png): too few')
    pairs = PairFiles([PairFile('l', 'r', name=str(i)) for i in range(11)])
    test_eq(
        [[f.name for f in p.files] for p in every_fifth(pairs)],
        [list('0123')+list('5678')+['10'], ['4','9']])
    test_fail(lambda: every_fifth(pairs.subset([0])), exc=ValueError, contains='has 1 usable pair')

@pytest.mark.data
def test_real_kitti_batches():
    from stereo_kd.testing import real_data
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        dls = StereoDataLoaders.from_kitti2015(real_data()/'kitti2015', size=(64,256), bs=2)
    left,right,disp,valid = dls.train.one_batch()
    test_eq([tuple(left.shape), len(dls.train), len(dls.valid)], [(2,3,64,256),2,1])
    assert .02<valid.float().mean()<.6 and disp[valid].min()>0

def test_show_batch_draws_three_rows():
    import matplotlib.pyplot as plt
    StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2).train.show_batch(max_n=2)
    test_eq(len(plt.gcf().axes), 6)
    plt.close()

def test_loaders_of_other_pairs():
    dls = StereoDataLoaders.from_synthetic(5, 3, (32,64), bs=2, device='cpu')
    whole = dls.valid.dataset.batch([0,1,2])
    chosen = list(dls.test_dl([2,0], with_labels=True))
    test_eq([len(b) for b in chosen], [4,4])
    for b,k in zip(chosen, (2,0)):
        for a,t in zip(b, whole): test_eq(a[0], t[k])
    test_eq([len(b) for b in dls.test_dl([2,0])], [2,2]) # without their truth, unless it is asked for
    left,right = whole[0][1],whole[1][1]
    test_eq([[len(b),b[0][0],b[1][0]] for b in dls.test_dl([(left,right)])], [[2,left,right]])
    with tempfile.TemporaryDirectory() as d:
        image = np.random.default_rng(0).integers(0, 255, (20,30,3), dtype=np.uint8)
        cv2.imwrite(f'{d}/a.png', image)
        files = dls.test_dl([(f'{d}/a.png',Path(d)/'a.png'), (left,right)])
        got = [b[0] for b in files]
    test_eq([tuple(g.shape) for g in got], [(1,3,20,30),(1,3,32,64)])
    from stereo_kd.core import denormalize
    test_close(denormalize(got[0][0]).permute(1,2,0), torch.from_numpy(image[...,::-1]/255.).float(), eps=1e-6)
    test_fail(lambda: list(dls.test_dl([(left,right)], with_labels=True)), contains='pair 0 has 2 parts, expected 4')
    empty = dls.new_empty()
    test_eq([len(dl) for dl in empty.loaders], [0,0])
    test_eq(empty.valid.fresh, dls.valid.fresh)

def test_a_loader_like_another():
    train = StereoDataLoaders.from_synthetic(5, 3, (32,64), bs=2, device='cpu', seed=4).train
    train.epoch = 3
    test_eq(train.new().get_idxs(), train.get_idxs()) # shares epoch, seed and kind
    test_eq(train.new(shuffle=False, drop_last=False).get_idxs(), [0,1,2,3,4])
    test_eq([len(train), len(train.new(shuffle=False, drop_last=False))], [2,3])
    valid = StereoDL(train.dataset, 2, False)
    test_eq(valid.new(shuffle=False).get_idxs(), [0,1,2,3,4])
    shuffled = [valid.new(shuffle=True).get_idxs() for _ in range(8)]
    assert all(sorted(s)==[0,1,2,3,4] for s in shuffled) and len(set(map(tuple, shuffled)))>1
    test_eq(len(valid.new(train.dataset, bs=5)), 1)

def test_results_show_truth_prediction_and_error():
    import matplotlib.pyplot as plt
    dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, device='cpu')
    b = dls.valid.one_batch()
    pred = b[2]+2
    dls.valid.show_results(b, pred)
    axes = np.array(plt.gcf().axes).reshape(4, 2)
    known = b[3].numpy()
    for k in range(2):
        shown = [a.images[0].get_array() for a in axes[:,k]]
        test_close(shown[2], pred[k].numpy())
        test_close(np.asarray(shown[3])[known[k]], 2*np.ones(known[k].sum()), eps=1e-4)
        test_eq(axes[3,k].get_title(), 'EPE 2.00 px')
    plt.close()
    x,y,samples,outs = dls.valid.show_results(b, pred, max_n=1, show=False)
    test_eq([len(x),len(y),len(samples),len(outs)], [1]*4)
    test_close(outs[0][0], pred[0])
    test_close(samples[0][1], b[2][0])
    from stereo_kd.core import denormalize
    items = dls.valid.decode_batch(b)
    test_eq(len(items), 2)
    test_close(items[1][0], denormalize(b[0][1]), eps=1e-6)
    test_close(items[1][2], b[2][1])
