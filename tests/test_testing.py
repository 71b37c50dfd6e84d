# Generated from nbs/02_testing.ipynb; edit the notebook, not this file
import ast, base64, csv, hashlib, io, json, math, os, posixpath, re, sys
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from threading import Thread
from typing import NamedTuple
from unittest import SkipTest
from urllib.parse import urlsplit
from fastcore.script import call_parse, store_true
from safetensors import SafetensorError, safe_open
from fastcore.test import *
from tempfile import TemporaryDirectory
from unittest.mock import patch
import matplotlib.pyplot as plt
from stereo_kd.testing import *

def test_real_data_from_environment():
    with TemporaryDirectory() as tmp:
        with patch.dict(os.environ, STEREO_KD_REAL=tmp): test_eq(real_data(), Path(tmp))
        with patch.dict(os.environ, STEREO_KD_REAL=tmp+'/none'):
            test_fail(real_data, contains='is not a folder', exc=ValueError)
    with patch.dict(os.environ, STEREO_KD_REAL=''): test_fail(real_data, contains='names no folder', exc=SkipTest)

def test_patches_find_a_shift():
    import torch
    from stereo_kd.models.base import StereoNet
    from stereo_kd.models.cost_volume import correlation_volume
    torch.manual_seed(0)
    wide = torch.rand(1,3,32,112).repeat_interleave(2, 2).repeat_interleave(2, 3)
    net = patch_net(StereoNet, correlation_volume)
    disp = net(wide[...,:192], wide[...,16:208]).disparity[-1] # right[x-16] = left[x]
    test_close(disp[...,24:-24], torch.full_like(disp[...,24:-24], 16.), eps=1.)

def test_the_smallest_network_learns():
    import torch
    from stereo_kd.models.base import StereoNet
    from stereo_kd.models.cost_volume import correlation_volume
    torch.manual_seed(0)
    net,x = score_net(StereoNet, correlation_volume, 4),torch.randn(2,1,3,32,96)
    out = net(*x)
    test_eq([out.features[0][-1].shape,out.disparity[-1].shape,net.max_disp], [(1,4,8,24),(1,32,96),48])
    out.disparity[-1].mean().backward()
    assert all(p.grad is not None and p.grad.abs().max()>0 for p in net.parameters())

def test_a_hub_gives_what_it_was_given():
    from huggingface_hub import HfApi
    repos = {}
    with local_hub(repos) as address,TemporaryDirectory() as d:
        api = HfApi(address, token='hf_test')
        api.create_repo('me/net')
        (Path(d)/'a.txt').write_text('one')
        api.upload_folder(repo_id='me/net', folder_path=d)
        test_eq([repos,api.list_repo_files('me/net')], [{'me/net':{'a.txt':b'one'}},['a.txt']])
        got = Path(api.hf_hub_download('me/net', 'a.txt', cache_dir=f'{d}/cache'))
        test_eq(got.read_text(), 'one')
    test_eq(hub_answer({}, 'POST', '/api/repos/create', b'{}', '')[0], 401)
    test_eq(hub_answer({}, 'GET', '/a/b/resolve/main/c', b'', '')[1], {'X-Error-Code':'RepoNotFound'})

def test_doubles_are_what_they_say():
    net,dls = line_net(3.),pair_loaders(5.)
    (left,right,disp,valid), = [next(iter(dls.train))]
    test_eq([v.flatten().tolist() for v in (left,right,disp,valid)], [[1.,1.],[0.,0.],[5.,5.],[True,True]])
    answer, = net(left, right, upto='features')
    test_eq([answer.flatten().tolist(),net.calls[0][0],len(dls.valid)], [[3.,3.],'features',4])
    assert not any(p.requires_grad for p in net.freeze().parameters())

def test_directives_lead_the_cell():
    test_eq(
        split_directives('#| hide\n# | test a\nx = 1\n#| slow'),
        (dict(hide=[], test=['a']), 'x = 1\n#| slow'))
    test_eq(split_directives('#| echo: false\nx'), (dict(echo=['false']), 'x'))
    test_eq(split_directives('# a comment\n#| hide')[0], {})
    test_eq(split_directives('#| hide\n\n#| test a\nx'), (dict(hide=[], test=['a']), 'x'))
    test_eq(split_directives(''), ({}, ''))

def test_reads_back_what_was_written():
    with TemporaryDirectory() as tmp:
        path = write_notebook(f'{tmp}/nbs/00_a.ipynb', '#| default_exp data.a', 'md:# A', '#| test b\nx = 1')
        write_notebook(f'{tmp}/nbs/_scratch.ipynb', 'x')
        write_notebook(f'{tmp}/nbs/.ipynb_checkpoints/00_a.ipynb', 'x')
        found = notebooks(tmp)
        test_eq(list(found), [path])
        test_eq(
            [c[:4] for c in found[path]],
            [
                (1,'code',dict(default_exp=['data.a']),''), (2,'markdown',{},'# A'),
                (3,'code',dict(test=['b']),'x = 1')])
        test_eq(module_name(found[path]), 'data.a')
        test_eq(module_name(found[path][1:]), None)

def test_broken_file_is_named():
    with TemporaryDirectory() as tmp:
        path = Path(tmp)/'bad.ipynb'
        for text in ('{"cells": [', '{}', '[]', '{"cells": 3}', '{"cells": [{"cell_type": "code"}]}', '['*100_000,
                     '{"cells": [{"cell_type": "code", "source": [3]}]}', '{"cells": [{"cell_type": [], "source": ""}]}'):
            path.write_text(text)
            test_fail(lambda: read_cells(path), contains='bad.ipynb is not a notebook', exc=ValueError)
        path.write_bytes(b'\xff')
        test_fail(lambda: read_cells(path), contains='bad.ipynb is not a text file', exc=ValueError)
        write_notebook(path, 'x = (', '#| export\nx = (')
        test_fail(lambda: read_cells(path), contains='bad.ipynb is not a notebook at cell 2: it exports no Python', exc=ValueError)
        path.unlink()
        os.mkfifo(path)
        test_fail(lambda: read_cells(path), contains='bad.ipynb is not a file', exc=ValueError)
        path = write_notebook(f'{tmp}/nbs/00_a.ipynb', '#| default_exp ../../a')
        test_fail(lambda: notebooks(tmp), contains="00_a.ipynb exports to '../../a'", exc=ValueError)

def test_only_import_cells_count():
    test_eq(import_lines(
        '%matplotlib inline\nimport os, re\nfrom a.b import (c,\n  d) # why\nimport nbdev\n'
    'from nbdev.showdoc import *'), ['import os, re', 'from a.b import c, d'])
    test_eq(import_lines('import os\nx = 1'), [])
    test_eq(import_lines('import nbdev; nbdev.some_call()'), [])
    test_eq(import_lines('not python'), [])

def test_strings_survive_indenting():
    for code in (
        'x = 1\n\nif x:\n    y = """a\n  b\n\nc"""\n    z = 2', 'f"""{1+1}\n a"""', 'x = ("a"\n"b",\n  """c\n""")',
        's = "a\\\nb"', 'def f():\n    """doc\n    more"""\n    return r\'\'\'\\\n\'\'\'',
        '# only a comment\npass'):
        body = ast.parse('def f():\n'+indent_code(code)).body[0].body
        test_eq(ast.dump(ast.Module(body, [])), ast.dump(ast.Module(ast.parse(code).body, [])))

def test_bad_test_cells_are_refused():
    def source(code, *name, **marks):
        return function_source(Cell(1, 'code', dict(test=list(name), **marks), code, []))
    test_eq(
        source('assert True', 'a', data=[], serial=[], hide=[]),
        '@pytest.mark.serial\n@pytest.mark.data\ndef test_a():\n    assert True')
    test_fail(lambda: source('pass'), contains='takes one Python name', exc=ValueError)
    test_fail(lambda: source('pass', 'two', 'words'), contains='two words', exc=ValueError)
    test_fail(lambda: source('pass', 'with-dash'), contains='with-dash', exc=ValueError)
    test_fail(lambda: source('x = = 1', 'a'), contains='test a: invalid syntax', exc=ValueError)
    test_fail(lambda: source('%timeit x', 'a'), contains='test a: invalid syntax', exc=ValueError)
    test_fail(lambda: source('from os import *', 'a'), contains='only allowed at module level', exc=ValueError)
    test_fail(lambda: source('# nothing', 'a'), contains='expected an indented block', exc=ValueError)

def test_notebook_and_cell_are_named():
    with TemporaryDirectory() as tmp:
        def export(*sources):
            path = write_notebook(f'{tmp}/00_a.ipynb', *sources)
            return module_tests(path, read_cells(path))
        path = write_notebook(f'{tmp}/01_b.ipynb', 'x = 1', '#| test b\npass')
        test_eq(notebook_tests(path, read_cells(path)), dict(b='def test_b():\n    pass'))
        test_fail(
            lambda: export('#| default_exp a', '#| test b\npass', '#| test b\npass'),
            contains='00_a.ipynb cell 3: there is another test b', exc=ValueError)
        test_fail(
            lambda: export('#| default_exp a', '#| test b\n1+'), contains='00_a.ipynb cell 2: test b: ',
            exc=ValueError)
        test_fail(lambda: export('#| test b\npass'), contains='no `#| default_exp`', exc=ValueError)
        test_eq(export('#| default_exp a', 'x = 1'), None)
        text = export(
            '#| default_exp a.b', 'from __future__ import annotations', 'import os', 'x = 1',
            '#| test c\n#| data\npass')
        test_eq(
            text.splitlines()[1:6],
            ['from __future__ import annotations','import os','import pytest','from stereo_kd.a.b import *',''])
        text = export('#| default_exp a.b', 'import os', 'from __future__ import annotations', '#| test c\npass')
        test_eq(
            text.splitlines()[1:4],
            ['from __future__ import annotations','import os','from stereo_kd.a.b import *'])

def test_stale_files_go_and_foreign_files_stay():
    with TemporaryDirectory() as tmp:
        root = Path(tmp)
        names = lambda: sorted(o.name for o in (root/'tests').iterdir())
        write_notebook(root/'nbs/00_a.ipynb', '#| default_exp a.b', '#| test c\npass')
        write_notebook(root/'nbs/01_d.ipynb', '#| default_exp d', '#| test e\npass')
        test_eq(write_tests(root), [root/'tests/test_a_b.py', root/'tests/test_d.py'])
        (root/'tests/test_hand.py').write_text('pass')
        (root/'nbs/01_d.ipynb').unlink()
        write_tests(root)
        test_eq(names(), ['test_a_b.py','test_hand.py'])
        write_notebook(root/'nbs/02_hand.ipynb', '#| default_exp hand', '#| test e\npass')
        test_fail(lambda: write_tests(root), contains='written by hand', exc=ValueError)
        write_notebook(root/'nbs/02_hand.ipynb', '#| default_exp a.b', '#| test e\npass')
        test_fail(lambda: write_tests(root), contains='as another notebook does', exc=ValueError)

def test_pytest_runs_the_files():
    import subprocess, sys
    with TemporaryDirectory() as tmp:
        (Path(tmp)/'stereo_kd').mkdir()
        (Path(tmp)/'stereo_kd/a.py').write_text('def double(x): return x+x')
        write_notebook(
            f'{tmp}/nbs/00_a.ipynb', '#| default_exp a', 'from unittest import SkipTest',
            '#| test good\nassert double(2)==4', '#| test bad\nassert 1==2',
            '#| test no_data\nraise SkipTest("no pairs")', 'x = 1', '#| test leans_on_other_cell\nassert x')
        write_tests(tmp)
        command = [sys.executable, *'-m pytest -q -p no:cacheprovider -W ignore --color=no tests'.split()]
        run = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp, env=dict(os.environ, PYTHONPATH=tmp))
    for words in ('2 failed, 1 passed, 1 skipped', 'assert 1 == 2', "NameError: name 'x'"):
        assert words in run.stdout, run.stdout

def test_links_move():
    test_eq(relink('[a](00_core.ipynb) ![b](../data/b.png "t") [c](https://x.org/c) [d](#d)'),
            '[a](nbs/00_core.ipynb) ![b](data/b.png "t") [c](https://x.org/c) [d](#d)')
    test_eq(
        relink('<img src="images/a.png" width=3> f(x)[0](mailto:a@b)'),
        '<img src="nbs/images/a.png" width=3> f(x)[0](mailto:a@b)')

def test_outputs_become_text():
    test_eq(output_markdown(dict(name='stdout', text=['a\n','\x1b[31mb\x1b[0m\n'])), '```text\na\nb\n```')
    test_eq(output_markdown(dict(name='stderr', text='warning')), '')
    test_eq(output_markdown(dict(data={'text/plain':['3'],'text/html':['<b>3</b>']})), '```text\n3\n```')
    test_eq(output_markdown(dict(data={'text/plain':'<Figure>','image/png':'iVBO'})), '')
    test_eq(output_markdown(dict(data={'text/plain':'<IPython.core.display.HTML object>','text/html':''})), '')
    test_eq(output_markdown(dict(data={'text/plain':'<IPython.x>','text/markdown':['|a|\n','|-|']})), '|a|\n|-|')

def test_readme_shows_text_code_and_output():
    test_eq(cell_markdown(Cell(1, 'code', dict(hide=[]), 'x', [])), '')
    test_eq(cell_markdown(Cell(1, 'code', {}, ' \n', [dict(name='stdout', text='2')])), '')
    with TemporaryDirectory() as tmp:
        test_eq(write_readme(tmp), None)
        path = write_notebook(
            f'{tmp}/nbs/index.ipynb', 'md:# Title\nSee [core](00_core.ipynb)', '#| hide\nsecret = 1',
            '1+1', '', '#| echo: false\nprint(2)')
        nb = json.loads(path.read_text())
        nb['cells'][2]['outputs'] = [dict(output_type='execute_result', data={'text/plain':'2'})]
        nb['cells'][4]['outputs'] = [dict(output_type='stream', name='stdout', text='two\n')]
        path.write_text(json.dumps(nb))
        text = write_readme(tmp).read_text()
    test_eq(
        text.split('\n', 2)[2],
        '# Title\nSee [core](nbs/00_core.ipynb)\n\n```python\n1+1\n```\n\n```text\n2\n```\n\n```text\ntwo\n```\n')

def test_a_table_is_filled_from_its_csv():
    shown = [three_digits(x) for x in (.064501, 1.3997, 11.74, 4351.2, 0)]
    test_eq(shown, ['0.0645','1.40','11.7','4351','0.00'])
    test_eq(parse_column('epe: a.csv'), Column('epe', 'a.csv', {}))
    test_eq(parse_column('-'), Column('-', '', {}))
    with TemporaryDirectory() as tmp:
        rows = ('network,weights,mask,epe','a,1,all,1.4049','a,1,noc,1','b,2,all,2','b,2,all,3')
        (Path(tmp)/'a.csv').write_text('\n'.join(rows))
        table = lambda line,name: results_table({'':'network', 'error':line, 'note':'-'}, [[name,'best']], tmp)
        test_eq(
            table('epe: a.csv, mask=all', '[a](a.md)').split('\n'), [
                '<!-- rows','network','epe: a.csv, mask=all','-','-->','','|  | error | note |','| - | - | - |',
                '| [a](a.md) | 1.40 | best |'])
        assert table('epe: a.csv, mask=occ', 'a').endswith('| a | – | best |')
        test_fail(lambda: table('epe: a.csv, mask=all', 'b'), contains='2 rows of a.csv', exc=ValueError)
        test_fail(lambda: table('d1: a.csv, mask=noc', 'a'), contains='a.csv has no column d1', exc=ValueError)
        test_fail(lambda: table('epe: a.csv, set=x', 'a'), contains='a.csv has no column set', exc=ValueError)
        test_eq(one_row('a.csv', tmp, network='b|c', epe='2|')['weights'], '2')
        test_fail(
            lambda: one_row('a.csv', tmp, network='b'), contains="2 rows of a.csv match {'network': 'b'}",
            exc=ValueError)
        test_fail(lambda: one_row('a.csv', tmp, epe='7|8'), contains='0 rows of a.csv', exc=ValueError)
        rows = find_rows('a.csv', dict(mask='noc'), tmp, dict(network='a', post='none'))
        test_eq([r['epe'] for r in rows], ['1'])
        for text,say in (('network,weights,epe\na,1,x\n',"a.csv: epe is 'x', no number"), ('network,weights,epe\na,1\n','a.csv is damaged'),
                         ('network,weights,epe\na,1,2,3\n','not as many columns'), (b'\xff',  'a.csv is not a text file'),
                         ('network,weights,epe\na,1,'+'2'*200_000, 'a.csv is damaged: field larger')):
            (Path(tmp)/'a.csv').write_bytes(text if isinstance(text, bytes) else text.encode())
            test_fail(lambda: table('epe: a.csv', 'a'), contains=say, exc=ValueError)
        test_fail(lambda: find_rows('/dev/zero', {}, tmp), contains='/dev/zero is not a file', exc=ValueError)
        test_eq(three_digits(float('nan')), 'nan')

def test_figures_outside_of_tables_are_seen():
    text = 'Bad if > 3 px, on torch 2.15, by Eq. 4.2; 0.7 px off.\n\n| a | b |\n|-|-|\n| **1.50** | of 2.5 |\n'
    text += '\n```text\n16.2 ms\n```\n'
    test_eq(stray_figures(text), ['**1.50**','0.7 px','16.2 ms'])
    table = '\n| a |\n|-|\n| 1.50 |\n'
    test_eq([stray_figures(table), stray_figures('<!-- rows\nepe: a.csv\n-->\n'+table)], [['1.50'],[]])

def test_every_figure_is_traced():
    from safetensors.numpy import save_file
    import numpy as np
    columns = {'network':'network', 'EPE':'epe: a.csv, mask=noc', 'ms':'ms: b.csv', 'why':'-'}
    with TemporaryDirectory() as tmp:
        root = Path(tmp)
        (root/'stereo_kd/weights').mkdir(parents=True)
        card = {'stereo_kd':json.dumps(dict(weights='feed'))}
        save_file(dict(w=np.zeros(1)), root/'stereo_kd/weights/a.safetensors', card)
        (root/'a.csv').write_text('\n'.join((
            'network,weights,engine,mask,epe', 'a,feed,torch,noc,1.3951', 'SGBM,,opencv,noc,2', 'b,beef,torch,noc,3')))
        (root/'b.csv').write_text('network,weights,engine,ms\na,feed,torch,163.4\nb,beef,torch,20\n')
        table = results_table(columns, [['**a**','ok'], ['SGBM','-']], root)
        text = f'# A\n\n{table}\n\nText, 3 px, Python 3.11\n'
        def wrong(text, **files):
            for name,content in files.items(): (root/f'{name}.csv').write_text(content)
            (root/'README.md').write_text(text)
            return ' '.join(check_readme(root))
        test_eq([wrong(text), kept_weights(root)], ['',dict(feed='a.safetensors')])
        assert '1.41 is shown, a.csv has 1.3951' in wrong(text.replace('1.40', '1.41'))
        assert '162 is shown' in wrong(text.replace('163', '162'))
        other = text.replace('**a** | 1.40 | 163', 'b | 3.0 | 20')
        assert 'no file in stereo_kd/weights or data/starts has the weights beef' in wrong(other)
        (root/'data/starts').mkdir(parents=True)
        earlier = root/'data/starts/b.safetensors'
        save_file(dict(w=np.zeros(1)), earlier, {'stereo_kd':json.dumps(dict(weights='beef'))})
        test_eq(wrong(other), '')
        earlier.unlink()
        assert 'c: epe: 0 rows' in wrong(text.replace('**a**', 'c'))
        assert "'fast' is not a number" in wrong(text.replace('163', 'fast'))
        assert "SGBM: epe: '–' is not a number" in wrong(text.replace('2.00', '–'))
        assert 'SGBM: ms: 0 rows of b.csv match' in wrong(text.replace('2.00 | –', '2.00 | 5'))
        assert 'a figure in a column of words: 7.5' in wrong(text.replace('ok', '7.5'))
        assert '3 cells under 4 columns' in wrong(text.replace(' | ok', ''))
        assert '1.5 stands outside' in wrong(text+'\n| a |\n|-|\n| 1.5 |\n')
        assert '0.7 px stands outside' in wrong(text+'\nIt errs by 0.7 px.')
        rows = (root/'b.csv').read_text()
        assert 'different weights: beef, feed' in wrong(text, b=rows.replace('a,feed', 'a,beef'))
        assert '2 rows of b.csv' in wrong(text, b=rows.replace('b,beef', 'a,feed'))
        assert 'b.csv has no column ms' in wrong(text, b=rows.replace('ms', 'time'))
        no_weights = (root/'a.csv').read_text().replace('opencv', 'torch')
        assert 'a row without weights' in wrong(text, b=rows, a=no_weights)

def test_the_project_is_found_or_the_test_skipped():
    with TemporaryDirectory() as tmp, patch.object(Path, 'cwd', return_value=Path(tmp)/'a/nbs'):
        test_fail(project_root, contains='not in a project with notebooks', exc=SkipTest)
        write_notebook(f'{tmp}/a/nbs/02_testing.ipynb', 'x')
        test_eq(project_root(), Path(tmp)/'a')

def test_imports_inside_functions_count():
    code = '%time\nimport os, stereo_kd.core as c\nfrom .near import x\ndef f(): from stereo_kd.data.io import read_pfm\nx = Late("stereo_kd.fuzz")'
    test_eq(own_imports(code), {'core','data.io','data.io.read_pfm','fuzz'})

def test_an_import_upwards_is_found():
    with TemporaryDirectory() as tmp:
        def tree(core, io, zoo):
            books = {'00_core':core, '11_data.io':io, '39_models.zoo':zoo}
            for name,code in books.items():
                cells = '#| default_exp '+name[3:],'#| export\n'+code,'from stereo_kd.models.zoo import *'
                write_notebook(f'{tmp}/nbs/{name}.ipynb', *cells)
            return import_graph(tmp)
        good = tree(
            'import os', 'from stereo_kd.core import pick\nfrom stereo_kd.data import io', 'import stereo_kd.core as core')
        test_eq({k:m.imports for k,m in good.items()}, {'core':set(), 'data.io':{'core'}, 'models.zoo':{'core'}})
        test_eq([upward_imports(good), room_imports(good), longest_chain(good)], [[],[],['data.io','core']])
        bad = tree('import os', 'def f():\n    from stereo_kd.models import zoo', 'x = 1')
        test_eq(upward_imports(bad), ['data.io (11) imports models.zoo (39), which must have a lower number'])
        bad = tree('import os', 'x = 1', 'from stereo_kd.data.io import read_pfm')
        test_eq(upward_imports(bad), [])
        test_eq(room_imports(bad), ['models.zoo imports data.io, a room that models may not import'])
        bad = tree('import stereo_kd.data.io', 'import stereo_kd.core', '')
        test_eq([len(upward_imports(bad)), len(longest_chain(bad))], [1,2])
        write_notebook(f'{tmp}/nbs/losses.ipynb', '#| default_exp losses')
        test_fail(lambda: import_graph(tmp), contains='must begin with a number', exc=ValueError)
    tree = dict(a=Module(1, set()), b=Module(2, {'a'}), c=Module(3, {'a','b'}), all=Module(4, {'c'}))
    test_eq(longest_chain(tree), ['c','b','a'])

def test_imports_point_down():
    graph = import_graph(project_root())
    assert len(graph)>40
    test_eq(upward_imports(graph), [])
    test_eq(room_imports(graph), [])

def test_names_defined_and_used():
    test_eq(
        public_names(
            'def f():\n    def g(): pass\nclass _H: pass\n@patch\ndef k(self:L): pass\n'
        '@lru_cache\ndef m(): pass\nx = 1'),
        ['f','m'])
    test_eq(used_names('%time\ny = f(x).shape # z'), {'y','f','x','shape'})
    test_eq(used_names('what?'), set())

def test_two_statements_on_a_line_are_seen():
    test_eq(packed_lines('a = 1; b = 2\nif a: b\nfor x in a: b; c\nd'), [1,3])
    short = 'def f(x): return x\ntry: a\nexcept E: b\nelse: c\nfinally: d;\nf = lambda x: (x, x)'
    test_eq(packed_lines(short), [])
    test_eq(packed_lines('%time\ntry: a\nexcept E: b; c\nfinally: d; e'), [3,4])
    test_eq(packed_lines('x = """a;\nb"""; y = 2\nwhat?'), [])
    test_eq(packed_lines('x = """a;\nb"""; y = 2'), [2])

def test_what_passes_a_cap_is_named():
    def cell(code, *words): return Cell(1, 'code', {w:[] for w in words or ('export',)}, code, [])
    line = 'x = 1\n'
    test_eq(cell_over_caps(cell(line*45+'\n\n')), [])
    test_eq(cell_over_caps(cell(line*46)), ['46 lines, 45 at most'])
    network = 'class A(nn.Module):\n    x = 1\n'
    test_eq(cell_over_caps(cell(network+line*58)), [])
    test_eq(cell_over_caps(cell(network+line*59)), ['61 lines, 60 at most'])
    long = 'y'*86+' = 1\n' # 90 characters
    test_eq(cell_over_caps(cell(long*20)), [])
    test_eq(cell_over_caps(cell(long*20+'x')), ['1801 characters, 1800 at most'])
    test_eq(cell_over_caps(cell('x'*120)), [])
    test_eq(cell_over_caps(cell('import a # '+'x'*110)), ['a line of 121, 120 at most: import a # '+'x'*29])
    test_eq(cell_over_caps(cell('a = 1; b = 2')), ['two statements on a line: a = 1; b = 2'])

def test_a_tree_over_its_caps():
    with TemporaryDirectory() as tmp:
        books = [f'1{i}_a{i}' for i in range(10)]+['20_b','21_c']
        def write(name, *cells): write_notebook(f'{tmp}/nbs/{name}.ipynb', f'#| default_exp {name[3:]}', *cells)
        for a,b in zip(books, books[1:]): write(b, f'#| export\nimport stereo_kd.{a[3:]}')
        functions = '#| export\ndef f(): pass\ndef g(): pass\ndef _h(): pass'
        write(books[0], functions, '#| test f\nf()', '#| eval: false\ng()')
        long,hidden,chain = '#| export\nz = 1\nclass K:\n'+'    x = 1\n'*50,'x = 1\n'*50,over_caps(tmp)
        write_notebook(f'{tmp}/nbs/exp_a.ipynb', hidden)
        write('30_long', 'md:# Long', hidden, long, 'K()')
        found,hidden = over_caps(tmp),names_not_shown(notebooks(tmp))
    test_eq(hidden, ['g'])
    way = ' > '.join(n[3:] for n in reversed(books))
    test_eq(chain, ['g is exported without a test or an example', f'a chain of 12 imports, 11 at most: {way}'])
    test_eq(found, ['30_long.ipynb cell 4 (K): 52 lines, 45 at most', *chain])

def test_report_counts():
    with TemporaryDirectory() as tmp:
        write_notebook(
            f'{tmp}/nbs/00_a.ipynb', '#| default_exp a', 'md:# A', '#| export\nimport os',
            '#| export\ndef f():\n\n    return 1', '#| export\nclass G: pass\ndef _h(): '+'x'*111,
            '#| test f\nassert f()', '#| eval: false\nG()')
        write_notebook(f'{tmp}/nbs/exp_a.ipynb', 'md:# no module', 'x'*119)
        report = notebook_report(tmp)
    test_eq(report, dict(
        notebooks='2, 1 of them export', tests=1, exported_cells=2, cell_lines='median 2, p90 2, max 2',
        cell_characters='median 77, p90 134, max 134', exported_lines='1 above 120, 1 above 110, of 5',
        all_code_lines='1 above 120, 2 above 110, of 8', markdown_share='14 %', shown_names='1 of 2',
        longest_chain='1: a'))
    test_eq(spread([3]*9+[7]), 'median 3, p90 7, max 7')
    cell = Cell(1, 'code', {}, '\n'.join(['']+['x'*n for n in (110,111,120,121)]), [])
    test_eq(wide_lines([cell]), '1 above 120, 3 above 110, of 4')

def test_a_wrong_tree_fails():
    with TemporaryDirectory() as tmp:
        root = Path(tmp)
        write_notebook(root/'nbs/00_a.ipynb', '#| default_exp a', '#| export\nx = 1')
        (root/'README.md').write_text('fine')
        test_eq(tree_problems(tmp), [])
        stereo_kd_prepare(tmp, check=True)
        test_eq(sorted(o.name for o in root.iterdir()), ['README.md','nbs'])
        for path,text,problem in (
            ('README.md', 'faster by 2.5 ms', '2.5 ms stands outside'),
            ('nbs/01_b.ipynb', 'import stereo_kd.c', 'b (1) imports c (2)'),
            ('nbs/01_b.ipynb', 'x = 1; y = 1', 'two statements on a line'),
            ('nbs/01_b.ipynb', 'from stereo_kd.a import x', 'b imports a, a room that b may not import')):
            write_notebook(root/'nbs/02_c.ipynb', '#| default_exp c')
            if path.endswith('.md'): (root/path).write_text(text)
            else: write_notebook(root/path, '#| default_exp b', '#| export\n'+text)
            test_fail(lambda: stereo_kd_prepare(tmp, check=True), contains=problem, exc=SystemExit)
            (root/'README.md').write_text('fine')
