"""Notebooks that start runs, and end in all the ways in which they do."""

import os
import sys
import time

from jupyter_client.manager import KernelManager


class Notebook:
    def __init__(self):
        self.kernel = KernelManager(kernel_name="python3")
        self.kernel.start_kernel()
        self.connect()

    def connect(self):
        self.client = self.kernel.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def cell(self, code, error=None):
        said = self.client.execute_interactive(code, timeout=60, output_hook=lambda message: None)["content"]
        if said.get("ename") != error:
            sys.exit("%s: %s" % (code, said))

    def close(self, now):
        self.client.stop_channels()
        self.kernel.shutdown_kernel(now=now)


BEGIN = "import quant_run, os, time\nrun = quant_run.start(%r)\nrun.metric('loss', 0.5)"

one = Notebook()
one.cell(BEGIN % "killed")
one.close(now=True)

two = Notebook()
two.cell(BEGIN % "restarted")
two.client.stop_channels()
two.kernel.restart_kernel(now=True)
two.connect()
two.cell(BEGIN % "again")
two.cell("assert quant_run.run().metric('loss', 0.25) is None; assert os.environ['QUANT_RUN_ID'] == run.id")
two.cell("assert run.end(); assert 'QUANT_RUN_ID' not in os.environ")
two.cell("with quant_run.start('block') as run:\n    run.metric('한글', 1)")
two.cell("with quant_run.start('raised') as run:\n    1 / 0", error="ZeroDivisionError")
two.cell(BEGIN % "interrupted")
message = two.client.execute("with run:\n    open('sleeps', 'w').close(); time.sleep(60)")
while not os.path.exists("sleeps"):
    time.sleep(0.02)
two.kernel.interrupt_kernel()
while two.client.get_shell_msg(timeout=60)["parent_header"].get("msg_id") != message:
    pass
two.cell("assert quant_run.start('after').end()")
two.cell(BEGIN % "left")
two.close(now=False)
