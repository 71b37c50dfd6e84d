# Generated from nbs/68_inference.calibration.ipynb; edit the notebook, not this file
import cv2, numpy as np, re, yaml
from typing import NamedTuple
from stereo_kd.core import check_file, read_text
import matplotlib.pyplot as plt, tempfile
from fastcore.test import *
from pathlib import Path
from stereo_kd.inference.points import to_depth
from stereo_kd.inference.sgbm import sgbm
from stereo_kd.inference.calibration import *

def test_one_pair_of_cameras_in_four_kinds_of_files():
    from unittest.mock import patch
    K1,K2 = np.array([[420.,0,318],[0,421,239],[0,0,1]]),np.array([[424.,0,322],[0,423,244],[0,0,1]])
    D1,D2 = np.array([-.2,.05,1e-3,-5e-4,0]),np.array([-.19,.04,-1e-3,2e-4,0])
    R,_ = cv2.Rodrigues(np.array([.01,-.02,.015]))
    T = np.array([-.12,.002,-.004])
    def same(c, K=(K1,K2), D=(D1,D2), R=R, T=T, lens='pinhole', eps=1e-6):
        for a,b in zip(c, (K[0],D[0],K[1],D[1],R,T)): test_close(a[:len(b)] if b.ndim==1 else a, b, eps=eps)
        test_eq((c.width,c.height,c.lens), (640,480,lens))
    with tempfile.TemporaryDirectory() as d:
        for suffix in ('yml','xml'):
            for file,parts in (('both',dict(M1=K1,D1=D1,M2=K2,D2=D2,R=R,T=1000*T)), ('in',dict(M1=K1,D1=D1,M2=K2,D2=D2)), ('ex',dict(R=R,T=1000*T))):
                s = cv2.FileStorage(f'{d}/{file}.{suffix}', cv2.FILE_STORAGE_WRITE)
                for k,v in parts.items(): s.write(k, v)
                if file!='in':
                    s.write('image_width', 640)
                    s.write('image_height', 480)
                s.release()
            same(read_calibration(f'{d}/both.{suffix}', unit=1e-3)) # a board in mm
            same(read_calibration(f'{d}/in.{suffix}', f'{d}/ex.{suffix}', unit=1e-3))
        M = np.eye(4)
        M[:3,:3],M[:3,3] = R,T
        def kalibr(model, lens, n=4):
            cam = lambda K,D: dict(camera_model=model, distortion_model=lens, distortion_coeffs=D[:n].tolist(), resolution=[640,480],
                                   intrinsics=[float(K[i]) for i in ((0,0),(1,1),(0,2),(1,2))], rostopic='/cam/image_raw')
            Path(f'{d}/chain.yaml').write_text(yaml.safe_dump(dict(cam0=cam(K1, D1), cam1=cam(K2, D2)|dict(T_cn_cnm1=M.tolist()))))
            return read_calibration(f'{d}/chain.yaml')
        same(kalibr('pinhole', 'radtan'), D=(D1[:4],D2[:4]))
        same(kalibr('pinhole', 'equidistant'), D=(D1[:4],D2[:4]), lens='fisheye')
        test_fail(lambda: kalibr('omni', 'radtan'), exc=ValueError, contains='camera_model of cam0 must be pinhole')
        test_fail(lambda: kalibr('pinhole', 'fov'), exc=ValueError, contains="the lens 'fov' is unknown; known: radtan")
        R1,R2,P1,P2,*_ = cv2.stereoRectify(K1, D1, K2, D2, (640,480), R, T[:,None])
        table = lambda a: dict(rows=len(a), cols=len(a[0]), data=np.ravel(a).tolist())
        for side,K,D,turn,P in (('left',K1,D1,R1,P1), ('right',K2,D2,R2,P2)):
            Path(f'{d}/{side}.yaml').write_text(yaml.safe_dump(dict(
                image_width=640, image_height=480, camera_name=side, camera_matrix=table(K), distortion_model='plumb_bob',
                distortion_coefficients=table(D[None]), rectification_matrix=table(turn), projection_matrix=table(P))))
        same(read_calibration(f'{d}/left.yaml', f'{d}/right.yaml'), eps=1e-5)
        test_fail(lambda: read_calibration(f'{d}/left.yaml'), exc=ValueError, contains='pass the file of the right one too')
        f = Path(f'{d}/calib.txt')
        text = lambda K: '['+'; '.join(' '.join(map(str, r)) for r in K)+']'
        f.write_text(f'cam0={text(K1)}\ncam1={text(K2)}\ndoffs=4\nbaseline=120\nwidth=640\nheight=480\nndisp=64\n')
        same(read_calibration(f), D=(np.zeros(4),)*2, R=np.eye(3), T=np.array([-.12,0,0]))
        good = f.read_text()
        for old,other,say in (('cam1','cam9','does not say cam1'), ('baseline=120','baseline=0','T is 0'), ('420','-420','in K_left must be positive'),
                              ('width=640','width=wide','the size of the images must be numbers'), ('421.0','nan','cam0 must be numbers')):
            f.write_text(good.replace(old, other))
            test_fail(lambda: read_calibration(f), exc=ValueError, contains=say)
        for bad,say in (('- 1\n- 2\n','it holds a list'), ('a: [','is no YAML'), ('a: 1','does not say cam0'), ('%YAML:1.0\n---\nM1: 3\n','does not say M1')):
            f.write_text(bad)
            test_fail(lambda: read_calibration(f), exc=ValueError, contains=say)
        test_fail(lambda: read_calibration(f'{d}/in.yml'), exc=ValueError, contains='does not say R, T; intrinsics and extrinsics')

def test_a_damaged_matrix_is_told():
    with tempfile.TemporaryDirectory() as d:
        s = cv2.FileStorage(f'{d}/a.yml', cv2.FILE_STORAGE_WRITE)
        for k in ('M1','D1','M2','D2','R','T'): s.write(k, np.eye(3))
        s.release()
        good = Path(f'{d}/a.yml').read_text()
        for old,new in (('dt: d','dx: d'), ('dt: d','dt: q'), ('rows: 3','lows: 3'), ('data:','gata:')): # read late, by OpenCV
            Path(f'{d}/b.yml').write_text(good.replace(old, new, 1))
            test_fail(lambda: read_calibration(f'{d}/b.yml'), exc=ValueError, contains='b.yml is no file of cv2.FileStorage')

def test_points_are_in_their_rows_and_depths():
    rng = np.random.default_rng(0)
    points = np.c_[rng.uniform(-.6,.6,200),rng.uniform(-.4,.4,200),rng.uniform(1,4,200)]
    R,_ = cv2.Rodrigues(np.array([.02,-.03,.025]))
    T = np.array([-.12,.003,-.006])
    K1,K2 = np.array([[420.,0,318],[0,421,239],[0,0,1]]),np.array([[424.,0,322],[0,423,244],[0,0,1]])
    for lens,D1,D2 in (('pinhole',np.array([-.2,.05,1e-3,-5e-4,0]),np.array([-.19,.04,-1e-3,2e-4,0])),
                       ('fisheye',np.array([-.03,.01,-2e-3,0]),np.array([-.02,.008,-1e-3,0]))):
        rect = Rectifier(Calibration(K1, D1, K2, D2, R, T, 640, 480, lens), alpha=.5)
        api = cv2.fisheye if lens=='fisheye' else cv2
        none = np.zeros(3)
        raw = [api.projectPoints(points[:,None], r, t, K, D)[0][:,0] for r,t,K,D in (
            (none,none,K1,D1), (cv2.Rodrigues(R)[0],T,K2,D2))]
        seen = [api.undistortPoints(p[:,None], K, D, R=r, P=P)[:,0] for p,K,D,r,P in zip(raw, (K1,K2), (D1,D2), rect.rotations, rect.projections)]
        inside = np.logical_and.reduce([(p>2).all(1)&(p<(637,477)).all(1) for p in seen])
        assert inside.sum()>60
        assert np.abs(seen[0]-seen[1])[inside,1].max()<.1
        assert np.abs(raw[0]-raw[1])[inside,1].max()>5 # they were not
        for p,q,m in zip(seen, raw, rect.maps):
            back = np.stack([cv2.remap(v, *np.float32(p[inside].T[:,:,None]), cv2.INTER_LINEAR)[:,0] for v in m], 1)
            assert np.abs(back-q[inside]).max()<.1
        disp = (seen[0]-seen[1])[inside,0]
        z = (points@rect.rotations[0].T)[inside,2] # along the axis of the rectified camera
        assert (disp>0).all()
        test_close(to_depth(disp[None], rect.focal, rect.baseline, rect.doffs)[0]/z, np.ones(len(z)), eps=1e-3)
        test_close(rect.baseline, np.linalg.norm(T), eps=1e-6)
        test_eq(set(rect.camera()), {'focal','baseline','cx','cy','doffs'})

def test_cameras_that_cannot_be_rectified():
    K,none = np.array([[420.,0,318],[0,421,239],[0,0,1]]),np.zeros(5)
    def of(T): return Rectifier(Calibration(K, none, K, none, np.eye(3), np.array(T), 64, 48))
    test_fail(lambda: of([.1,0,0]), exc=ValueError, contains='swap the two views')
    test_fail(lambda: of([0,-.1,0]), exc=ValueError, contains='one above the other')
    image = np.random.default_rng(0).integers(0, 256, (48,64,3), dtype=np.uint8)
    rect = of([-.1,0,0])
    test_eq([v.shape for v in rect(image, image)], [(48,64,3)]*2)
    test_fail(lambda: rect(image, image[:,:60]), exc=ValueError, contains='right is 60x48 px, the calibration is for 64x48')
