"""A Horovod rank: sums the ranks' numbers; the last one fails when told to."""

import sys

import horovod.tensorflow as hvd
import tensorflow as tf

hvd.init()
total = hvd.allreduce(tf.constant(float(hvd.rank() + 1)), op=hvd.Sum)
sys.stdout.write(f"rank {hvd.rank()} of {hvd.size()} has {float(total)}\n")
if sys.argv[1:] == ["fail"] and hvd.rank() == hvd.size() - 1:
    sys.exit(3)
if sys.argv[1:]:
    while True:
        hvd.allreduce(tf.constant(1.0))
