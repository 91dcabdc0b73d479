"""Rounds of Flower's SecAgg+ in one process: its own server workflow and its own client mod, between
which messages pass without a network and without being serialised.

One line in, `clients parameters`; one line out, `coordinator client`: seconds that the server
computed for, and a client on average."""
import copy
import logging
import sys
import time
from types import SimpleNamespace

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.common import Code, FitIns, FitRes, Status
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.compat.common import recorddict_compat as compat
from flwr.server import LegacyContext
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key

from flwr.supercore.task_identity import TaskIdentity

logging.disable(logging.CRITICAL)
TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 1



class Everyone(FedAvg):
    """Averages over all clients there are."""

    def __init__(self, clients):
        super().__init__()
        self.clients = clients

    def configure_fit(self, server_round, parameters, client_manager):
        proxy = lambda node: SimpleNamespace(node_id=node, cid=str(node))
        return [(proxy(node), FitIns(parameters, {})) for node in self.clients]


class Grid:
    """Clients in this process, and a clock of what they computed for."""

    def __init__(self, clients, update):
        self.update, self.seconds, self.away = update, 0.0, 0.0
        self.contexts = {
            node: Context(1, node, {}, RecordDict(), {}) for node in clients}

    def send_and_receive(self, messages, timeout=None):
        """Content that messages share until they are serialised is copied, on nobody's clock."""
        start, replies = time.process_time(), []
        for message in messages:
            message.content = copy.deepcopy(message.content)
            asked = time.process_time()
            replies.append(self.answer(message))
            self.seconds += time.process_time() - asked
        self.away += time.process_time() - start
        return replies

    def answer(self, message):
        return secaggplus_mod(message, self.contexts[message.metadata.dst_node_id], self.fit)

    def fit(self, message, context):
        result = FitRes(Status(Code.OK, ""), self.update, 1000, {})
        return Message(compat.fitres_to_recorddict(result, True), reply_to=message)


def main():
    for line in sys.stdin:
        count, parameters = map(int, line.split())
        clients = list(range(1, count + 1))
        weights = ndarrays_to_parameters([np.zeros(parameters, dtype=np.float32)])
        update = ndarrays_to_parameters([np.full(parameters, 0.01, dtype=np.float32)])
        context = LegacyContext(Context(1, 0, {}, RecordDict(), {}), strategy=Everyone(clients))
        context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({Key.CURRENT_ROUND: 1})
        context.state.array_records[MAIN_PARAMS_RECORD] = compat.parameters_to_arrayrecord(
            weights, True)
        grid = Grid(clients, update)
        start = time.process_time()
        SecAggPlusWorkflow(num_shares=count, reconstruction_threshold=0.5)(grid, context)
        server = time.process_time() - start - grid.away
        mean = compat.arrayrecord_to_parameters(
            context.state.array_records[MAIN_PARAMS_RECORD], True)
        assert np.allclose(parameters_to_ndarrays(mean)[0], 0.01, atol=1e-4)
        print(server, grid.seconds / count, flush=True)


main()
