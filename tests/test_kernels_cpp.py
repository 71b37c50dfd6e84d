# Generated from nbs/04_kernels.cpp.ipynb; edit the notebook, not this file
import ctypes, hashlib, os, platform, shutil, subprocess, tempfile
from functools import lru_cache
from pathlib import Path
import numpy as np
from fastcore.test import *
from stereo_kd.kernels.cpp import *

def test_one_high_knot():
    if compiler():
        for f,want in ((4,21.5),(1,5.)):
            scores = np.zeros((48,2,3), np.float32); scores[5] = 1e4; out = [np.empty((8,12), np.float32),np.empty((4,8,12), np.float32)]
            forward(scores, *out, f, 0, 8); test_close(out[0], np.full((8,12), want), eps=1e-4)
            forward(np.zeros_like(scores), *out, f, 0, 8); test_close(out[0], np.full((8,12), (48*f-1)/2), eps=1e-4); test_close(out[1][3], np.full((8,12), 48.*f), eps=1e-4)
        out[0].fill(-1); forward(scores, *out, f, 2, 5); test_eq((out[0]!=-1).any(1).tolist(), [2<=y<5 for y in range(8)]) # its band only
        test_fail(lambda: forward(scores.astype(float), *out, 1, 0, 8), contains='contiguous float32 arrays, got float64')

def test_gradient_by_differences():
    if compiler():
        rng = np.random.default_rng(0); scores,g = rng.normal(size=(12,3,5)).astype(np.float32)*2,rng.normal(size=(12,20)).astype(np.float32)
        def loss(s): out = [np.empty((12,20), np.float32),np.empty((4,12,20), np.float32)]; forward(s.astype(np.float32), *out, 4, 0, 12); return (out[0].astype(float)*g).sum(),out
        grad = np.zeros_like(scores); backward(scores, loss(scores)[1][1], g, grad, 4, 0, 12, 0)
        for i in ((0,0,0),(5,1,2),(11,2,4),(3,2,0)):
            step = np.zeros_like(scores); step[i] = .05
            test_close((loss(scores+step)[0]-loss(scores-step)[0])/.1, float(grad[i]), eps=.02)

def test_small_numbers_stay_what_they_are():
    if compiler():
        out = [np.empty((8,12), np.float32),np.empty((4,8,12), np.float32)]; forward(np.zeros((12,2,3), np.float32), *out, 4, 0, 8)
        assert np.float32(1e-38)*np.float32(.01)>0 # a library linked with -ffast-math flushes subnormal numbers everywhere

def test_compiling_says_what_is_wrong():
    import os, tempfile
    from unittest.mock import patch
    with tempfile.TemporaryDirectory() as d, patch.dict(os.environ, CXX='', PATH=d):
        test_eq(compiler(), ''); test_fail(lambda: compile_source('int x;', d), exc=RuntimeError, contains='no C++ compiler found')
    if compiler():
        with tempfile.TemporaryDirectory() as d:
            test_fail(lambda: compile_source('int f( {', d), exc=RuntimeError, contains='could not compile the kernels: '); test_eq(os.listdir(d), [])
            lib = compile_source('extern "C" int two() { return 2; }', d); stamp = lib.stat().st_mtime_ns
            test_eq(ctypes.CDLL(str(lib)).two(), 2); test_eq([compile_source('extern "C" int two() { return 2; }', d), lib.stat().st_mtime_ns], [lib,stamp]); test_eq(len(os.listdir(d)), 1)
