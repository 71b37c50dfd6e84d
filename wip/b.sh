cd /tmp/h/scenes/main
cat ../src/10a.txt ../src/10b.txt ../src/10c.txt ../src/10d.txt ../src/10e.txt ../src/10f.txt ../src/10g.txt ../src/10h.txt > ../src/10.txt 
.venv/bin/python ../build.py ../src/04.txt nbs/04_kernels.raycast.ipynb; .venv/bin/python ../build.py ../src/10.txt nbs/10_data.scenes.ipynb;  .venv/bin/nbdev_export
