# Generated from nbs/05_kernels.jit.ipynb; edit the notebook, not this file
from fastcore.test import *
from stereo_kd.kernels import cpp
from stereo_kd.kernels.jit import *

def test_agrees_with_cpp():
    if cpp.compiler():
        rng = np.random.default_rng(0)
        for (N,f,h,w,H,W),size in (((12,4,5,9,19,33),3.),((24,1,4,17,16,65),3.),((48,4,3,5,12,20),1e4)):
            scores = rng.normal(size=(N,h,w)).astype(f4); scores,g = np.sign(scores)*f4(1e4) if size>1e3 else scores*f4(size),rng.normal(size=(H,W)).astype(f4); results = []
            for kernels in (cpp.forward,cpp.backward),(forward,backward):
                out,grad = [np.empty((H,W), f4),np.empty((4,H,W), f4)],np.zeros_like(scores)
                kernels[0](scores, *out, f, 0, H); kernels[1](scores, out[1], g, grad, f, 0, H, 0); results.append((out[0],grad))
            test_close(*[r[0] for r in results], eps=1e-3); test_close(*[r[1] for r in results], eps=1e-4*np.abs(results[0][1]).max())
            assert np.abs(results[0][1]).max()>0 or size>1e3
