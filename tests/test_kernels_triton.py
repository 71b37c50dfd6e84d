# Generated from nbs/06_kernels.triton.ipynb; edit the notebook, not this file
import torch, triton
import triton.language as tl
from torch import Tensor
import os, subprocess, sys
from importlib.util import find_spec
from fastcore.test import *
from stereo_kd.kernels.triton import *

def test_agrees_with_the_loops():
    script = '''
import numpy as np, torch
from stereo_kd.kernels import jit, triton
torch.manual_seed(0)
for (B,N,f,h,w,H,W),size in (((2,3,4,2,3,7,11),3.), ((1,4,1,2,2,6,8),3.), ((1,2,4,1,2,4,7),1e4)):
    s = torch.randn(B,N,h,w); s = s.sign()*size if size>1e3 else s*size; g = torch.randn(B,H,W); s = s.bfloat16().contiguous()
    disp,aux = triton.forward(s, f, H, W); grad = triton.backward(s, aux, g, f)
    for b in range(B):
        d,a,want = np.empty((H,W), np.float32),np.empty((3,H,W), np.float32),np.zeros((N,h,w), np.float32); x = s[b].float().numpy()
        jit.forward(x, d, a, f*N, jit.f4(1), 0, H); jit.backward(x, a, g[b].numpy(), want, f*N, jit.f4(1), 0, H, 0)
        assert np.abs(d-disp[b].numpy()).max()<1e-3, np.abs(d-disp[b].numpy()).max()
        assert np.abs(want-grad[b].numpy()).max()<=1e-4*max(1e-2, np.abs(want).max()), (np.abs(want-grad[b].numpy()).max(), np.abs(want).max())
        assert size>1e3 or np.abs(want).max()>1e-3
print('agree')
'''
    if find_spec('triton'):
        done = subprocess.run(
            [sys.executable,'-c',script], env=os.environ |dict(TRITON_INTERPRET='1'),
            capture_output=True, text=True)
        assert done.stdout.endswith('agree\n'), done.stderr[-1500:]
