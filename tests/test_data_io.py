# Generated from nbs/11_data.io.ipynb; edit the notebook, not this file
import re, warnings, zlib
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
import cv2, numpy as np
from PIL import Image, TiffImagePlugin
from stereo_kd.cli import out_of_memory
from stereo_kd.core import atomic_write, check_file
import errno, os, struct, tempfile, zlib
from unittest.mock import patch
from fastcore.test import *
import matplotlib.pyplot as plt
from stereo_kd.testing import real_data
import pytest
from stereo_kd.data.io import *

def test_bytes_roundtrip():
    with tempfile.TemporaryDirectory() as d:
        write_bytes(Path(d)/'new'/'a', b'abc')
        test_eq(read_bytes(Path(d)/'new'/'a'), b'abc')
        test_fail(lambda: read_bytes(d), exc=ValueError, contains='is a folder')
        os.mkfifo(Path(d)/'pipe.png') # nobody will ever write to it
        for read in (read_bytes,read_image,read_pfm,read_disparity):
            test_fail(lambda: read(Path(d)/'pipe.png'), exc=ValueError, contains='pipe.png is a device or a pipe')
            test_fail(lambda: read('/dev/zero'), exc=ValueError, contains='/dev/zero is a device or a pipe')

def test_every_format_agrees():
    rgb = np.random.default_rng(0).integers(0, 256, (20,30,3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        for ext in 'png ppm bmp tiff'.split():
            cv2.imwrite(str(d/f'a.{ext}'), rgb[...,::-1])
            test_eq(read_image(d/f'a.{ext}'), (rgb/np.float32(255)))
        for ext in 'png ppm tiff'.split(): # 257 maps 0..255 onto 0..65535
            cv2.imwrite(str(d/f'a.{ext}'), rgb[...,::-1].astype(np.uint16)*257)
            test_close(read_image(d/f'a.{ext}'), rgb/255, eps=1e-7)
        cv2.imwrite(str(d/'a.tiff'), (rgb/255).astype(np.float32)[...,::-1])
        test_close(read_image(d/'a.tiff'), rgb/255, eps=1e-7)
        test_eq(read_image(d/'a.tiff').dtype, np.float32)
        assert read_image(d/'a.tiff').flags.c_contiguous

def test_grey_alpha_palette():
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 256, (20,30,4), dtype=np.uint8))
    rgb = np.asarray(rgba)[...,:3]
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'a.png'
        for ext in ('png','tiff'):
            rgba.save(Path(d)/f'a.{ext}')
            test_close(read_image(Path(d)/f'a.{ext}'), rgb/255, eps=1e-7)
        grey = Image.fromarray(rgb[...,0])
        grey.save(f)
        test_close(read_image(f), np.repeat(rgb[...,:1]/255, 3, -1), eps=1e-7)
        few = Image.fromarray(rgb).quantize(8)
        few.save(f)
        test_close(read_image(f), np.asarray(few.convert('RGB'))/255, eps=1e-7)
        few.save(f, transparency=0)
        test_close(read_image(f), np.asarray(few.convert('RGB'))/255, eps=1e-7)

def test_ten_bit_and_orientation():
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'a.pgm'
        f.write_bytes(b'P5 # ten bits\n3 2\n1023\n'+np.arange(0, 6*200, 200, dtype='>u2').tobytes())
        test_close(read_image(f)[1,1], np.full(3, 800/1023), eps=1e-6)
        exif = Image.Exif()
        exif[0x112] = 6 # "turn by 90 degrees"
        f = Path(d)/'a.jpg'
        Image.new('RGB', (30,20), (255,0,0)).save(f, exif=exif)
        test_eq(read_image(f).shape, (20,30,3))
        test_close(read_image(f)[5,5], np.array([1,0,0]), eps=.02)

def test_damaged_files_are_named():
    level = cv2.utils.logging.setLogLevel(0) # OpenCV would tell of each file as well
    rgb = np.random.default_rng(0).integers(0, 256, (64,64,3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        for ext,kind in dict(png='PNG', jpg='JPEG', bmp='BMP', tiff='TIFF', ppm='PNM').items():
            data = cv2.imencode(f'.{ext}', rgb)[1].tobytes()
            for keep in (12, len(data)//2, len(data)-20):
                (d/f'half.{ext}').write_bytes(data[:keep])
                test_fail(
                    lambda: read_image(d/f'half.{ext}'), exc=ValueError,
                    contains=f'half.{ext} is a truncated or damaged {kind}')
        (d/'note.png').write_text('hello'*9)
        test_fail(lambda: read_image(d/'note.png'), exc=ValueError, contains='note.png is not an image')
        for bad,words in ((np.nan,'hole.tiff has nan'), (np.inf,'hole.tiff has nan or inf'), (7.,'from 0 to 7')):
            x = np.zeros((4,4), np.float32)
            x[1,2] = bad
            cv2.imwrite(str(d/'hole.tiff'), x)
            test_fail(lambda: read_image(d/'hole.tiff'), exc=ValueError, contains=words)
        Image.fromarray(np.full((4,4), 70000, np.int32)).save(d/'int.tiff')
        test_fail(lambda: read_image(d/'int.tiff'), exc=ValueError, contains='int.tiff holds int32')
    cv2.utils.logging.setLogLevel(level)

def test_headers_are_compared_with_the_file():
    def chunk(name, body, size=None): # a chunk of a PNG whose length may lie
        head = struct.pack('>I', len(body) if size is None else size)
        return head+name+body+struct.pack('>I', zlib.crc32(name+body))
    def png(w, h, claimed=None, bits=8):
        body = zlib.compress(bytes(h*(1+w*bits//8)), 9) if claimed is None else b'x'*16
        head = chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, bits, 0, 0, 0, 0))
        return b'\x89PNG\r\n\x1a\n'+head+chunk(b'IDAT', body, claimed)+chunk(b'IEND', b'')
    bmp = cv2.imencode('.bmp', np.zeros((4,4,3), np.uint8))[1].tobytes()
    tiff = cv2.imencode('.tiff', np.zeros((9,9), np.uint8), [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes()
    at = int.from_bytes(tiff[4:8], 'little')
    strips = next(k for k in range(at+2, len(tiff), 12) if tiff[k:k+2]==b'\x11\x01') # where the pixels lie
    lies = {
        'a.png': (png(4, 4, 2**32-1), 'by its header it has 4294967'), 'b.png': (png(4, 4, 2**31), 'truncated or damaged PNG'),
        'c.png': (png(9000, 9000, bits=1), 'claims about 81 million pixels'), # true, and nobody's picture
        'a.ppm': (b'P6\n800 600\n255\n'+bytes(999), 'by its header it has 1440000 bytes'),
        'b.ppm': (b'P5 #\n9 9 #\n1023\n'+bytes(99), 'by its header it has 162 bytes'),
        'c.ppm': (b'P3\n800 600\n255\n'+b'1 '*99, 'truncated or damaged PNM'),
        'a.bmp': (bmp[:18]+struct.pack('<ii', 90, -90)+bmp[26:], 'truncated or damaged BMP'),
        'a.tiff': (tiff[:strips+8]+struct.pack('<I', 2**31)+tiff[strips+12:], 'truncated or damaged TIFF')}
    with tempfile.TemporaryDirectory() as d:
        for name,(data,words) in lies.items():
            (Path(d)/name).write_bytes(data)
            test_fail(lambda: read_image(Path(d)/name), exc=ValueError, contains=name)
            test_fail(lambda: read_image(Path(d)/name), exc=ValueError, contains=words)
        whole = png(9, 9)
        for k in (9, 20, 50, len(whole)-2): # a length, a width, a pixel, the end
            (Path(d)/'flip.png').write_bytes(whole[:k]+bytes([whole[k]^1])+whole[k+1:])
            test_fail(lambda: read_image(Path(d)/'flip.png'), exc=ValueError, contains='flip.png is a truncated or damaged PNG')
        (Path(d)/'white.png').write_bytes(png(3840, 2160)) # 4K, one grey level
        test_eq(read_pixels(Path(d)/'white.png').shape, (2160,3840))
    test_eq(len(png(4, 4, 2**32-1)), 73) # bytes of the first of them

def test_bytes_of_any_image():
    x = np.arange(256, dtype=np.uint8).reshape(16,16)
    test_eq(to_uint8(x), x)
    test_eq(to_uint8(x/255), x)
    test_eq(to_uint8(np.float32(x/255)[...,None]), x[...,None])
    for bad,words in (
        (x/1., 'view must be uint8, or floating point in [0,1] without nan, got float64 from 0 to 255'),
        (x.astype(np.uint16), 'got uint16'), (x-np.inf, 'without nan'),
        (x[0], 'view must be (H,W) or (H,W,3), got (16,)'), (np.dstack([x,x]), 'got (16, 16, 2)')):
        test_fail(lambda: to_uint8(bad, 'view'), exc=ValueError, contains=words)

def test_pfm_by_hand():
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'a.pfm'
        for end,sign in (('<',b'-0.003922'), ('>',b'1')):
            f.write_bytes(b'Pf\n3 2\n'+sign+b'\n'+np.array([3,4,np.inf,0,1,2.5], end+'f4').tobytes())
            test_eq(read_pfm(f).tolist()[0], [0,1,2.5])
            test_eq(read_pfm(f)[1,:2].tolist(), [3,4])
            assert np.isnan(read_pfm(f)[1,2])
        for head in (b'Pf \n1 1 \n-1.0\n', b'Pf\r\n1 1\r\n-1\r\n', b'Pf\n1\n1\n-1e0 \n'):
            f.write_bytes(head+np.float32(13).tobytes())
            test_eq(read_pfm(f).tolist(), [[13]])
        f.write_bytes(b'Pf\n1 1\n-1\n'+b'\n\n\n\n')
        test_eq(read_pfm(f)[0,0], np.frombuffer(b'\n\n\n\n', '<f4')[0]) # pixels that look like line ends

def test_pfm_roundtrip():
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'a.pfm'
        for shape in ((5,7),(5,7,3),(1,1)):
            x = rng.normal(size=shape).astype(np.float32)
            if shape==(5,7): x[1,2] = np.nan
            for little in (True,False):
                write_pfm(f, x, little=little)
                np.testing.assert_array_equal(read_pfm(f), x)
                test_eq(read_pfm(f).dtype, np.float32)
        write_pfm(f, np.array([[1,np.nan]]))
        assert f.read_bytes().endswith(np.array([1,np.inf],'<f4').tobytes())
        test_fail(
            lambda: write_pfm(f, np.zeros((2,2,4))), exc=ValueError,
            contains='a.pfm: a PFM holds (H,W) or (H,W,3), got (2, 2, 4)')

def test_pfm_refuses():
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'a.pfm'
        def says(data, words):
            f.write_bytes(data)
            test_fail(lambda: read_pfm(f), exc=ValueError, contains=words)
        for data in (
            b'P6\n1 1\n-1\n0000', b'Pf\n1 x\n-1\n0000', b'Pf\n1 1\n0\n0000', b'Pf\n1 1\nnan\n0000',
            b'Pf'):
            says(data, 'a.pfm is not a PFM')
        for data in (
            b'Pf\n2 2\n-1\n' +bytes(15), b'Pf\n2 2\n-1\n' +bytes(17), b'Pf\n0 2\n-1\n', b'PF\n2 2\n-1\n'
            +bytes(16)):
            says(data, 'a.pfm is truncated or damaged')
        says(b'Pf\n999999999 999999999\n-1\n'+bytes(8), 'but 8 follow') # four exabytes are not asked for

def test_missing_folder_empty():
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        for read,ext in (
            (read_bytes,'png'), (read_image,'png'), (read_pfm,'pfm'), (read_disparity,'png'),
            (read_disparity,'npy')):
            f = d/f'none.{ext}'
            f.touch()
            test_fail(lambda: read(f), exc=ValueError, contains=f'none.{ext} is empty')
            test_fail(lambda: read(d/f'nope.{ext}'), exc=FileNotFoundError, contains=f'nope.{ext} does not exist')
            test_fail(lambda: read(d), exc=ValueError, contains=f'{d} is a folder')

def test_eight_bit_needs_scale():
    x = np.array([[0,8],[20,255]], np.uint8)
    with tempfile.TemporaryDirectory() as d:
        for ext in ('png','pgm'):
            f = Path(d)/f'a.{ext}'
            cv2.imwrite(str(f), x)
            test_fail(lambda: read_disparity(f), exc=ValueError, contains=f'a.{ext} has 8 bits: pass scale')
            np.testing.assert_array_equal(read_disparity(f, scale=8), np.float32([[np.nan,1],[2.5,255/8]]))
            test_fail(
                lambda: read_disparity(f, scale=0), exc=ValueError,
                contains='scale must be positive, got 0')
        cv2.imwrite(str(f.with_suffix('.png')), np.dstack([x,x,x]))
        test_eq(read_disparity(f.with_suffix('.png'), 8)[1,0], 2.5)
        cv2.imwrite(str(f.with_suffix('.png')), np.dstack([x,x,x//2]))
        test_fail(
            lambda: read_disparity(f.with_suffix('.png'), 8), exc=ValueError,
            contains='a.png is a colour picture')

def test_npy_and_pfm_disparities():
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'a.npy'
        np.save(f, np.array([[1.5,np.inf],[np.nan,-np.inf]]))
        np.testing.assert_array_equal(read_disparity(f), np.float32([[1.5,np.nan],[np.nan,np.nan]]))
        np.save(f, np.array([{}], object))
        test_fail(lambda: read_disparity(f), exc=ValueError, contains='a.npy is not a .npy array')
        for shape in ((0,5),(5,0),(0,0)):
            np.save(f, np.zeros(shape))
            test_fail(lambda: read_disparity(f), exc=ValueError, contains='a.npy')
        np.save(f, np.zeros((2,3), np.int8))
        whole = f.read_bytes()
        for shape in (b'(2, 10**9)', b'(999999999, 999999999999)', b'(-2,3)', b'('*50, b'(2,3,)+(9,)'):
            f.write_bytes(whole.replace(b'(2, 3)', shape))
            test_fail(lambda: read_disparity(f), exc=ValueError, contains='a.npy is not a .npy array')
        np.save(f, np.array([[1e300,2]]))
        np.testing.assert_array_equal(read_disparity(f), np.float32([[np.nan,2]]))
        np.save(f, np.zeros((2,2,2)))
        test_fail(
            lambda: read_disparity(f), exc=ValueError,
            contains='a.npy must hold numbers (H,W), got float64 (2, 2, 2)')
        np.save(f, np.zeros((40,50)))
        f.write_bytes(f.read_bytes()[:-8])
        test_fail(lambda: read_disparity(f), exc=ValueError, contains='a.npy is not a .npy array')
        f.write_bytes(b'hello')
        test_fail(lambda: read_disparity(f), exc=ValueError, contains='a.npy is not a .npy array')
        cv2.imwrite(f'{d}/a.tiff', np.float32([[0,np.nan],[1.5,9]]))
        np.testing.assert_array_equal(read_disparity(f'{d}/a.tiff'), np.float32([[0,np.nan],[1.5,9]]))
        f = Path(d)/'a.pfm'
        write_pfm(f, np.zeros((2,3,3)))
        test_fail(lambda: read_disparity(f), exc=ValueError, contains='a.pfm must hold one channel, got 3')

def test_disparity_roundtrip():
    d = np.random.default_rng(0).uniform(0, 255.99, (20,30)).astype(np.float32)
    d[3,4] = np.nan
    d[5,6] = np.inf
    d[0,0] = 0
    d[0,1] = 65535/256
    want = np.where(np.isinf(d), np.nan, d)
    with tempfile.TemporaryDirectory() as t:
        t = Path(t)
        for name in ('a.pfm','a.npy','a.png','B.PFM'):
            write_disparity(t/name, d)
            got = read_disparity(t/name)
            np.testing.assert_allclose(got, want, rtol=0, atol=1/256 if name=='a.png' else 0)
            test_eq(got.dtype, np.float32)
        # rounded, not cut
        np.testing.assert_allclose(read_disparity(t/'a.png')[1:], want[1:], rtol=0, atol=1/512+1e-6)
        x = cv2.imread(str(t/'a.png'), cv2.IMREAD_UNCHANGED)
        test_eq(x.dtype, np.uint16)
        test_eq(x[[3,5,0,0],[4,6,0,1]].tolist(), [0,0,1,65535]) # unknown, unknown, zero, the largest

def test_encoders_are_the_files():
    d = np.float32([[1.5,np.nan],[0,200]])
    test_eq(encode_pfm(np.nan_to_num(d)), b'Pf\n2 2\n-1.0\n'+np.float32([0,200,1.5,0]).tobytes())
    x = cv2.imdecode(np.frombuffer(encode_kitti(d), np.uint8), cv2.IMREAD_UNCHANGED)
    test_eq([x.dtype.name,x.tolist()], ['uint16',[[384,0],[1,51200]]])
    with tempfile.TemporaryDirectory() as t:
        for name,encode in {'a.pfm':encode_pfm, 'a.png':encode_kitti}.items():
            write_disparity(f'{t}/{name}', d)
            test_eq(Path(f'{t}/{name}').read_bytes(), encode(d))
    test_fail(lambda: encode_kitti([[256.]]), exc=ValueError, contains='a 16-bit png holds 0 to below 256 px')
    test_fail(lambda: encode_pfm([1.]), exc=ValueError, contains='a PFM holds (H,W) or (H,W,3), got (1,)')

def test_write_disparity_refuses():
    with tempfile.TemporaryDirectory() as t:
        t = Path(t)
        for v in (256., 255.999, -1.):
            test_fail(
                lambda: write_disparity(t/'a.png', np.full((2,2), v)), exc=ValueError,
                contains='a.png: a 16-bit png holds 0 to below 256 px')
        test_fail(
            lambda: write_disparity(t/'a.tif', np.ones((2,2))), exc=ValueError,
            contains='a.tif: cannot write a disparity as .tif; use .pfm, .png, .npy')
        test_fail(lambda: write_disparity(t/'a', np.ones((2,2))), exc=ValueError, contains='without suffix')
        test_fail(
            lambda: write_disparity(t/'a.png', np.ones((1,2,2))), exc=ValueError,
            contains='disparity must be (H,W), got (1, 2, 2)')
        test_eq(list(t.iterdir()), [])
        write_disparity(t/'a.png', np.full((2,2), np.nan))
        assert np.isnan(read_disparity(t/'a.png')).all()

def test_picture_colours():
    d = np.tile(np.linspace(0, 100, 256, dtype=np.float32), (3,1))
    d[0,:9] = np.nan
    d[1,0] = np.inf
    p = color_disparity(d, max_disp=100)
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_TURBO)[0,:,::-1]
    test_eq(p[2], table) # RGB, first to last colour
    assert (p[0,:9]==0).all() and (p[1,0]==0).all() and (p[2].sum(-1)>0).all()
    test_eq(color_disparity(d, max_disp=50)[2,255].tolist(), table[255].tolist())
    # from 0, whatever the map holds
    test_eq(color_disparity(np.full((1,1), 50.), max_disp=100)[0,0].tolist(), table[128].tolist())
    auto = color_disparity(np.where(d>99.5, 1e4, d)) # a few wild values do not eat the colours
    test_eq(len(np.unique(auto[2], axis=0))>200, True)
    assert (color_disparity(np.full((2,2), np.nan))==0).all()
    test_eq(np.unique(color_disparity(np.full((2,2), 7.)).reshape(-1,3), axis=0).tolist(), [table[0].tolist()])
    test_fail(lambda: color_disparity(d, cmap='pretty'), exc=ValueError, contains="unknown colour map 'pretty'")
    test_fail(lambda: color_disparity(d, max_disp=0), exc=ValueError, contains='max_disp must be positive')

def test_picture_file():
    d = np.arange(12.).reshape(3,4)
    d[1,1] = np.nan
    with tempfile.TemporaryDirectory() as t:
        write_picture(Path(t)/'a.png', d)
        test_eq(read_pixels(Path(t)/'a.png'), color_disparity(d))
        test_fail(
            lambda: write_picture(Path(t)/'a.xyz', d), exc=ValueError,
            contains='a.xyz: cannot write a picture')

def test_scale_beside_a_picture():
    d = np.tile(np.linspace(20, 80, 64, dtype=np.float32), (240,1))
    test_eq(color_range(np.where(d>79, np.nan, d))[0], color_range(d)[0])
    test_eq(color_range(d), (20.,80.))
    test_eq(color_range(np.full((2,2), np.nan)), (0.,1.))
    plain,given = color_disparity(d, 80, min_disp=20),color_disparity(d)
    test_eq(plain, given)
    assert (plain!=color_disparity(d, 80)).any() # from 0
    drawn = draw_scale(plain, 20, 80)
    test_eq((drawn.shape[0],drawn.dtype), (240,np.uint8))
    test_eq(drawn[:,:64], plain) # the map is untouched
    strip = drawn[:,64+8+3] # through the scale: last colour at the top, first one at the bottom
    colours = strip[(strip<255).any(1)]
    test_eq([colours[0].tolist(),colours[-1].tolist()], [plain[0,-1].tolist(),plain[0,0].tolist()])
    test_eq(draw_scale(np.zeros((3,4,3), np.uint8), 0, 1).shape[0], 3) # of any size
    with tempfile.TemporaryDirectory() as t:
        write_picture(Path(t)/'a.png', d, 80, min_disp=20, bar=True)
        test_eq(read_pixels(Path(t)/'a.png'), drawn)
        write_picture(Path(t)/'b.png', d, bar=True)
        test_eq(read_pixels(Path(t)/'b.png'), draw_scale(given, *color_range(d)))

def test_full_disk_leaves_no_half_file():
    def full(self, data):
        with open(self, 'wb') as f: f.write(data[:len(data)//2])
        raise OSError(errno.ENOSPC, 'No space left on device')
    d = np.ones((4,5), np.float32)
    with tempfile.TemporaryDirectory() as t:
        for name,write in {
            'a.pfm':write_disparity, 'a.png':write_disparity, 'a.npy':write_disparity,
            'b.png':write_picture, 'b.pfm':write_pfm}.items():
            f = Path(t)/name
            write(f, d)
            before = f.read_bytes()
            with patch.object(Path, 'write_bytes', full):
                test_fail(lambda: write(f, d*2), exc=OSError, contains=f'{name}: No space left on device')
            test_eq(f.read_bytes(), before)
            f.unlink()
            test_eq(list(Path(t).iterdir()), [])

@pytest.mark.data
def test_middlebury_files():
    m = real_data()/'middlebury'
    for scene in ('Motorcycle','ArtL','Vintage'):
        d = m/'MiddEval3/trainingQ'/scene
        calib = dict(l.split('=',1) for l in (d/'calib.txt').read_text().split('\n') if '=' in l)
        disp,img = read_disparity(d/'disp0GT.pfm'),read_image(d/'im0.png')
        test_eq(disp.shape, (int(calib['height']),int(calib['width'])))
        test_eq(img.shape, (*disp.shape,3))
        assert float(calib['vmin'])-1 <= np.nanmin(disp) and np.nanmax(disp) <= float(calib['vmax'])+1
        mask = read_pixels(d/'mask0nocc.png')
        test_eq(np.isnan(disp), mask==0) # same unknown pixels, so the same row order
    venus = m/'2001/venus'
    disp = read_disparity(venus/'disp2.pgm', scale=8)
    want = cv2.imread(str(venus/'disp2.pgm'), cv2.IMREAD_UNCHANGED)
    test_eq(disp, want/np.float32(8))
    test_eq(read_image(venus/'im2.ppm').shape[:2], disp.shape)
    test_fail(lambda: read_disparity(venus/'disp2.pgm'), contains='disp2.pgm has 8 bits')

@pytest.mark.data
def test_kitti_and_sceneflow_files():
    k = real_data()/'kitti2015/training'
    disp,img = read_disparity(k/'disp_noc_0/000001_10.png'),read_image(k/'image_2/000001_10.png')
    test_eq(img.shape, (*disp.shape,3))
    assert .1 < np.isfinite(disp).mean() < .4 and np.nanmin(disp)>0 and 50<np.nanmax(disp)<150
    assert np.nanmedian(disp[-60:]) > np.nanmedian(disp[150:210]) # the road in front is nearer than the horizon
    s = real_data()/'sceneflow/FlyingThings3D'
    left,right = (read_image(s/f'frames_cleanpass/TEST/A/0032/{v}/0006.png') for v in ('left','right'))
    disp = read_disparity(s/'disparity/TEST/A/0032/left/0006.pfm')
    h,w = disp.shape
    y,x = np.mgrid[:h,:w]
    xr = np.round(x-disp).astype(int)
    ok = xr>=0
    err = np.abs(left-right[y,xr.clip(0)]).mean(-1)[ok]
    # the disparity matches the views
    assert np.median(err)<.02 < np.median(np.abs(left-right[::-1][y,xr.clip(0)]).mean(-1)[ok])

@pytest.mark.slow
def test_hundreds_of_bad_files():
    import subprocess, sys
    code = r"""
import resource, struct, sys, zlib
from pathlib import Path
import cv2, numpy as np
from stereo_kd.data.io import read_disparity, read_image, write_disparity, write_pfm
cv2.utils.logging.setLogLevel(0)
d = Path(sys.argv[1])
rng = np.random.default_rng(0)
rgb = rng.integers(0, 256, (24,32,3), dtype=np.uint8)
good = {}
pictures = dict(png=rgb, jpg=rgb, bmp=rgb, tiff=rgb, ppm=rgb, pgm=rgb[...,0])
for ext,im in pictures.items(): good[ext] = cv2.imencode('.'+ext, im)[1].tobytes()
disp = rng.uniform(1, 90, (24,32)).astype('float32')
for n in ('k.png','l.pfm','n.npy'):
    write_disparity(d/n, disp)
    good[n] = (d/n).read_bytes()
write_pfm(d/'b.pfm', disp, little=False)
good['b.pfm'] = (d/'b.pfm').read_bytes()
write_pfm(d/'c.pfm', rgb)
good['c.pfm'] = (d/'c.pfm').read_bytes()
def chunk(k, v): return struct.pack('>I', len(v))+k+v+struct.pack('>I', zlib.crc32(k+v))
def png(w, h, bits=8, color=2):
    head = chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, bits, color, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n'+head+chunk(b'IDAT', zlib.compress(b'0'*99))+chunk(b'IEND', b'')
def huge(ext, n): # headers that claim n x n pixels
    if ext in ('png','k.png'): return png(n, n)
    if ext=='bmp': return good[ext][:18]+struct.pack('<ii', n, n)+good[ext][26:]
    if ext in ('ppm','pgm'): return (b'P6' if ext=='ppm' else b'P5')+f'\n{n} {n}\n255\n'.encode()+bytes(40)
    if ext=='jpg':
        i,m = good[ext].index(b'\xff\xc0'),min(n, 65000)
        return good[ext][:i+5]+struct.pack('>HH', m, m)+good[ext][i+9:]
    if ext.endswith('pfm'): return good[ext][:3]+f'{n} {n}\n-1\n'.encode()+bytes(40)
    if ext=='n.npy':
        return good[ext][:10]+good[ext][10:].replace(b'(24, 32)', f'({n},9)'.encode().ljust(8)[:8], 1)
    b = bytearray(good['tiff'])
    at = struct.unpack('<I', b[4:8])[0]
    for k in range(struct.unpack('<H', b[at:at+2])[0]):
        e = at+2+12*k
        if struct.unpack('<H', b[e:e+2])[0] in (256,257): b[e+2:e+12] = struct.pack('<HII', 4, 1, n)
    return bytes(b)
bad = []
for ext,data in good.items():
    size = len(data)
    cuts = {1,2,3,5,8,12,16,20,25,30,size//3,size//2,size-30,size-13} & set(range(1, size))
    bad += [(ext,'cut',data[:n]) for n in sorted(cuts)]
    bad += [
        (ext,'empty',b''), (ext,'zeros',bytes(size)), (ext,'text',b'hello '*50),
        (ext,'magic',b'XX'+data[2:])]
    bad += [(ext,'huge',huge(ext, n)) for n in (9999,30000,60000,999999)]
    bad += [(ext,'random',rng.bytes(n)) for n in (1,10,100,1000)]
    if ext.endswith(('pfm','npy')): bad += [(ext,'longer',data+b'0')] if ext!='n.npy' else []
    def flipped(k, v): return data[:k]+bytes([data[k]^v])+data[k+1:]
    if ext in ('png','k.png'):
        bad += [(ext,'flip',flipped(k, 255)) for k in range(16,33)] # size, depth, check sum
    bad += [(ext,'noise',flipped(k, v)) for k in range(4, min(size, 40), 5) for v in (1,128)]
arrays = dict(
    obj=np.array([[None,{}]], object), text=np.array([['a','b']]), three=np.zeros((2,2,2)),
    cplx=np.zeros((2,2), complex), rec=np.zeros((2,2), 'f4,i4'))
for name,array in arrays.items():
    np.save(d/'n.npy', array, allow_pickle=True)
    bad.append(('n.npy','dtype '+name,(d/'n.npy').read_bytes()))
(d/'warm.png').write_bytes(good['png'])
read_image(d/'warm.png')
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
counts = dict(error=0, array=0)
wrong = []
for k,(ext,what,data) in enumerate(bad):
    f = d/f'file{k}.{ext.split(".")[-1]}'
    f.write_bytes(data)
    for read in (read_image,) if ext in ('png','jpg','bmp','tiff','ppm') else (
        lambda p: read_disparity(p, 8),) :
        try:
            x = read(f)
            counts['array'] += 1
            if what not in ('noise','flip') and (what=='huge' or x.size>8300*len(data)*3):
                wrong.append((ext,what,x.shape))
            if what not in ('noise','flip','random') and ext not in ('jpg','tiff','bmp'):
                wrong.append((ext,what,'was read'))
        except (ValueError,FileNotFoundError) as e:
            counts['error'] += 1
            if f.name not in str(e) or len(str(e))>300+len(str(d)): wrong.append((ext,what,str(e)))
        except BaseException as e: wrong.append((ext,what,repr(e)))
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-before)/1024
print(len(bad), counts['error'], counts['array'], round(grown), wrong)
"""
    with tempfile.TemporaryDirectory() as d:
        done = subprocess.run([sys.executable, '-c', code, d], capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr[-800:]
    files,errors,arrays,grown,wrong = done.stdout.split(' ', 4)
    print(f'{files} bad files: {errors} answered by name, {arrays} read; memory grew by {grown} MB')
    test_eq(wrong.strip(), '[]')
    assert int(errors)>=300 and int(grown)<64, done.stdout

@pytest.mark.slow
def test_any_map_comes_back():
    from hypothesis import given, settings, strategies as st
    from hypothesis.extra import numpy as hnp
    quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
    sizes = st.tuples(st.integers(1, 5), st.integers(1, 5))
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'a.pfm'
        k = Path(d)/'a.png'
        @quick
        @given(
            st.one_of(sizes, sizes.map(lambda s: (*s,3))).flatmap(lambda s: hnp.arrays(np.float32, s)),
            st.booleans())
        def pfm(x, little):
            write_pfm(f, x, little)
            want = x.copy()
            want[np.isinf(x)] = np.nan
            np.testing.assert_array_equal(read_pfm(f), want)
        @quick
        @given(sizes.flatmap(lambda s: hnp.arrays(np.uint16, s)))
        def kitti(x):
            write_disparity(k, np.where(x, x/np.float32(256), np.nan))
            np.testing.assert_array_equal(read_disparity(k), np.where(x, x/np.float32(256), np.nan))
        @quick
        @given(
            st.one_of(
                st.binary(max_size=60), st.binary(max_size=30).map(lambda b: b'Pf\n2 2\n-1\n'+b),
                st.text('Pf0123456789.-\n ', max_size=40).map(str.encode)))
        def noise(b):
            for p in (f,k):
                p.write_bytes(b)
                try: read_disparity(p, 8)
                except ValueError as e: assert p.name in str(e)
        level = cv2.utils.logging.setLogLevel(0)
        pfm()
        kitti()
        noise()
        cv2.utils.logging.setLogLevel(level)
