# Generated from nbs/71_inference.image.ipynb; edit the notebook, not this file
from pathlib import Path
import numpy as np, torch
from PIL import Image
from torch import Tensor
from stereo_kd.data.io import read_image
import tempfile
from torch import nn
from fastcore.test import *
from stereo_kd.inference.image import *

def test_all_kinds_agree():
    a = np.random.default_rng(0).integers(0, 256, (20,30,3), dtype=np.uint8)
    t = torch.from_numpy(a).permute(2,0,1)
    want = t/255
    with tempfile.TemporaryDirectory() as d:
        Image.fromarray(a).save(f'{d}/a.png')
        with_alpha = np.dstack([a,a[...,0]])
        kinds = [
            f'{d}/a.png', Path(d)/'a.png', Image.open(f'{d}/a.png'), Image.fromarray(a), Image.fromarray(with_alpha),
            a, a[::-1][::-1], np.asfortranarray(a), with_alpha, a.astype(np.uint16)*257, a.astype('>u2')*257, a/255,
            np.float32(a)/255, t, t[None], t/255, (t/255).double()[None]]
        for x in kinds: test_close(to_image(x), want, eps=1e-6)
    test_close(to_image((t/255).half()), want, eps=1e-3)
    test_close(to_image((t/255).bfloat16().requires_grad_()), want, eps=1e-2)
    test_eq(to_image(a).dtype, torch.float32)
    test_eq(tuple(to_image(a).shape), (3,20,30))
    assert to_image(a[...,0]).is_contiguous()

def test_grey_is_repeated():
    g = np.random.default_rng(0).integers(0, 256, (20,30), dtype=np.uint8)
    want = to_image(np.dstack([g,g,g]))
    picture,t = Image.fromarray(g),torch.from_numpy(g)
    pictures = [picture, Image.merge('LA', [picture]*2)]
    pictures += [Image.fromarray(v) for v in (g.astype(np.uint16)*257, g.astype(np.int32)*257, np.float32(g)/255)]
    for x in (g, g[...,None], g.astype(np.uint16)*257, g/255, t, t[None], t[None,None], *pictures):
        test_close(to_image(x), want, eps=1e-6)
    few = Image.fromarray(g).quantize(4)
    test_eq(to_image(few), to_image(few.convert('RGB')))
    assert to_image(Image.fromarray(g>99)).unique().tolist()==[0,1]

def test_pictures_refused():
    x = np.zeros((20,30,3), np.float32)
    def says(x, words): test_fail(lambda: to_image(x, 'left'), exc=ValueError, contains=words)
    for v in (np.nan,np.inf):
        y = x.copy()
        y[3,4,1] = v
        says(y, 'left has nan or inf pixels')
        says(torch.from_numpy(y).permute(2,0,1), 'left has nan or inf')
    says(x+200, 'left has pixels from 200 to 200; floating point must lie in [0,1]')
    says(x-1, 'left has pixels from -1 to -1')
    says(x.astype(int), 'left has int64 pixels')
    says(x.transpose(2,0,1), 'left must be (H,W) or (H,W,3) as an array, got (3, 20, 30)')
    says(torch.zeros(20,30,3), 'left must be one image (3,H,W) or (1,3,H,W) as a tensor, got (20, 30, 3)')
    says(torch.zeros(2,3,20,30), 'got (2, 3, 20, 30)')
    says(x[:0], 'got (0, 30, 3)')
    for v in (None, 3, nn.Identity(), [x]):
        says(v, f'left must be a file name, a PIL image, a NumPy array or a tensor, got {type(v).__name__}')
    test_fail(lambda: to_image('none.png'), exc=FileNotFoundError, contains='none.png does not exist')
