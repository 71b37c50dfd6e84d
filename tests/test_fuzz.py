# Generated from nbs/88_fuzz.ipynb; edit the notebook, not this file
import ast, io, json, os, random, re, select, shutil, signal, subprocess, sys, tempfile, threading, time, warnings, zlib
from collections import defaultdict
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from unittest import mock
import cv2, numpy as np, torch
from fastai.torch_core import default_device
from fastcore.script import Param, call_parse
from PIL import Image
from safetensors.torch import save_file
import stereo_kd
from stereo_kd import testing
from stereo_kd.core import atomic_write, claim, commit, fingerprint, format_table, limit_memory, put_aside, read_json, read_run, read_text, run_folder, save_run, set_seed, write_rows
from stereo_kd.data.eth3d import eth3d
from stereo_kd.data.files import PairFile, PairFiles, read_split
from stereo_kd.data.folder import folder as pairs_of_folder
from stereo_kd.data.io import read_bytes, read_disparity, read_image, read_pfm, read_pixels, write_disparity, write_pfm
from stereo_kd.data.kitti import kitti2012, kitti2015
from stereo_kd.data.loaders import StereoDataLoaders
from stereo_kd.data.middlebury import middlebury, read_calib
from stereo_kd.data.sceneflow import sceneflow
from stereo_kd.deploy import export as exporting, speed as speeds
from stereo_kd.evaluation.evaluate import evaluate, evaluate_frames, from_folder, open_pairs, real_pairs, stereo_eval
from stereo_kd.inference.predict import predict, predict_file, stereo_predict, to_image, write_ply
from stereo_kd.models.zoo import create_model, load_model, publish, read_card, save_model
from stereo_kd.train.cache import CachedTeacher
from stereo_kd.train.learner import StateCallback, fit, last_good, stereo_learner
from stereo_kd.train.stages import Plan, Step, average_weights, prune_stages, train_stage
from stereo_kd.train.state import drop_states, read_state, write_state
from fastcore.test import *
import matplotlib.pyplot as plt
from stereo_kd.fuzz import *

def test_each_damage_does_something():
    data = bytes(range(48,58))*20
    for kind in DAMAGES:
        made = {damaged(data, [Damage(kind, at, v)], b'abc') for at in (0, .3, .999, 1) for v in (0, 1, 12345, 2**32-1)}
        assert len(made)>1 and data not in made, kind
    test_eq(damaged(data, [Damage('cut', .5, 2)], b''), data[:100])
    test_eq(damaged(data, [Damage('cut', .5, 3)], b''), data[:32]) # among the first 64 bytes
    test_eq(damaged(b'', [Damage(k, .5, 7) for k in DAMAGES], b'x'), b'')
    tree = dict(a=[1,dict(b=2)], c='x')
    seen = {json.dumps(json.loads(damaged(json.dumps(tree).encode(), [Damage('json', 0, 2*v)], b''))) for v in range(0, 20_000, 7)}
    assert len(seen)>60 and json.dumps(dict(a=[1,dict(b=2)])) in seen # one value after the other; a key left out

def test_outcomes_are_told_apart():
    def raises(e):
        def read(): raise e
        return attempt(read, ['a.png','/data']).kind
    test_eq(attempt(lambda: 3, ['a']).kind, 'accepted')
    test_eq([raises(ValueError('a.png is damaged')), raises(FileNotFoundError(2, 'No such file', '/data/b'))], ['refused']*2)
    test_eq([raises(e) for e in (ValueError('damaged'), KeyError('a.png'), MemoryError('a.png'), RecursionError())], ['traceback']*4)
    def command(line, code):
        def read():
            print(line, file=sys.stderr)
            raise SystemExit(code)
        return attempt(read, ['a.png']).kind
    test_eq(command('x: a.png is damaged', 2), 'refused')
    test_eq([command('x: damaged', 2), command('a.png', 1), command('two lines\na.png', 2)], ['traceback']*3)
    def patient(): # an error of its own does not hide a hang
        with alarm(.05, 9):
            while True:
                try: sum(range(1000))
                except Exception: pass
    def waits():
        with alarm(9, .05): time.sleep(5)
    if os.name=='posix': test_eq([attempt(patient, []).kind, attempt(waits, []).kind], ['hang']*2)
