"""A Spark application: sums its argument's numbers."""

import sys

from pyspark.sql import SparkSession

session = SparkSession.builder.getOrCreate()
total = session.range(int(sys.argv[1])).groupBy().sum("id").collect()[0][0]
context = session.sparkContext
address = context.getConf().get("spark.driver.host")
sys.stdout.write(f"sum {total} with {context.defaultParallelism} threads on {address} as {context.appName}\n")
session.stop()
