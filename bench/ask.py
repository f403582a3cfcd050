#!/usr/bin/env python3
"""Milliseconds a question takes on this machine, over the server's Unix socket, beside the Python way.

    ask.py DATA [--rows 1000000] [--folder DIR] [--kinds clustered,demo]

DATA is what setup.sh made: its b32 is the model of the clustered vectors, [rows, 512]; those like the demo's pictures are
[rows, 128] with the demo model. Cold is from the start of the server to the first answer, with the index opened before and its
files in the page cache. Recall is the share of the exact 10 best that the first pass finds. The Python way is transformers' text
model and faiss's flat index: a program that is started for each question, and the same kept running. DIR needs 9 bytes for each
number of the vectors; what is made there is removed.
"""
import argparse, http.client, json, os, pathlib, random, shutil, socket, statistics, subprocess, sys, tempfile, threading, time

HERE = pathlib.Path(__file__).resolve().parent
BIN = HERE.parent / "target" / "debug"
CLIENTS, EACH, QUESTIONS = 50, 4, 200
COLOURS = "red orange yellow green blue purple pink brown white black".split()
THINGS = "car bus truck house tree flower fish bird boat cat sun mountain balloon cup book umbrella".split()
PLACES = "sky grass sea sand night street".split()


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("server", timeout=120)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def post(self, route, **body):
        self.request("POST", route, json.dumps(body), {"content-type": "application/json"})
        answer = self.getresponse()
        said = json.loads(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"{route}: {answer.status} {said}")
        return said


class Server:
    """A server on a socket of its own; its cache is kept from one to the next."""

    def __init__(self, folder, prefix, model):
        self.socket, self.prefix, self.model = folder / "run" / "s.sock", prefix, model
        (folder / "run").mkdir(mode=0o700, exist_ok=True)
        runtime = pathlib.Path.home() / ".cache/imagefleet/onnxruntime/libonnxruntime.so"
        env = {"ORT_DYLIB_PATH": str(runtime), **os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        self.process = subprocess.Popen([BIN / "server", "--socket", self.socket], env=env, stderr=subprocess.DEVNULL)

    def connection(self):
        while True:
            try:
                connection = Connection(self.socket)
                connection.connect()
                return connection
            except (FileNotFoundError, ConnectionRefusedError):
                if self.process.poll() is not None:
                    sys.exit("error: the server ended")
                time.sleep(0.005)

    def open(self, connection):
        more = {"model": str(self.model)} if self.model else {}
        return connection.post("/v1/indexes", index_prefix=str(self.prefix), **more)["name"]

    def memory(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("Rss")}

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.socket.unlink(missing_ok=True)


def texts(count, seed):
    """As long as people's questions are, and no two alike: the server remembers what it has been asked."""
    words = random.Random(seed)
    return [f"a {words.choice(COLOURS)} {words.choice(THINGS)} on the {words.choice(PLACES)} {words.randrange(1000)}"
            for _ in range(count)]


def ask(connection, name, text, **more):
    began = time.perf_counter()
    answer = connection.post(f"/v1/indexes/{name}/search", text=text, top_k=10, **more)
    return 1000 * (time.perf_counter() - began), answer


def spread(times):
    times = sorted(times)
    return statistics.median(times), times[min(len(times) - 1, int(0.99 * len(times)))]


def cold(folder, prefix, model):
    began = time.perf_counter()
    server = Server(folder, prefix, model)
    connection = server.connection()
    ask(connection, server.open(connection), "a yellow car")
    took = time.perf_counter() - began
    return took, server


def crowd(server, name):
    """All clients ask at once, each one question after the other."""
    times, errors, ready = [], [], threading.Barrier(CLIENTS)

    def client(number):
        try:
            connection = server.connection()
            ready.wait()
            for text in texts(EACH, 1000 + number):
                times.append(ask(connection, name, text)[0])
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=client, args=[i]) for i in range(CLIENTS)]
    [t.start() for t in threads], [t.join() for t in threads]
    return times, errors


def measure(kind, folder, prefix, model):
    first, server = cold(folder, prefix, model)
    server.stop()
    starts = []
    for _ in range(3):
        took, server = cold(folder, prefix, model)
        starts.append(took)
        if len(starts) < 3:
            server.stop()
    connection = server.connection()
    name = server.open(connection)
    time.sleep(8)  # the vectors are checked in the background
    anon = server.memory()["RssAnon"]
    warm, exact, found = [], [], 0
    for text in texts(QUESTIONS, 1):
        took, answer = ask(connection, name, text, collapse=False)
        warm.append(took)
        took, all_compared = ask(connection, name, text, collapse=False, exact=True)
        exact.append(took)
        found += len({m["path"] for m in answer["matches"]} & {m["path"] for m in all_compared["matches"]})
    usual = [ask(connection, name, text)[0] for text in texts(QUESTIONS, 2)]
    times, errors = crowd(server, name)
    memory = server.memory()
    server.stop()
    print(f"{kind}:")
    print(f"  warm, p50 and p99                      {spread(usual)[0]:7.0f} ms {spread(usual)[1]:7.0f} ms   (targets 60, 200)")
    print(f"  without collapsing near duplicates     {spread(warm)[0]:7.0f} ms {spread(warm)[1]:7.0f} ms")
    print(f"  exact                                  {spread(exact)[0]:7.0f} ms {spread(exact)[1]:7.0f} ms   (target 150)")
    print(f"  recall@10 of {QUESTIONS} texts                 {found / 10 / QUESTIONS:9.4f}              (target 0.99)")
    print(f"  cold, median of 3                      {1000 * statistics.median(starts):7.0f} ms              (target 2000)")
    print(f"  the first time after a merge           {1000 * first:7.0f} ms")
    print(f"  {CLIENTS} clients at once, p50 and p99       {spread(times)[0]:7.0f} ms {spread(times)[1]:7.0f} ms   (target 1500), {len(errors)} errors")
    print(f"  memory: its own {anon:.0f} MiB, {memory['RssAnon']:.0f} MiB after the crowd; mapped files {memory['RssFile']:.0f} MiB", flush=True)
    [print(f"  error: {error}") for error in errors[:3]]


def python_way(prefix, model):
    said = subprocess.run([sys.executable, "-W", "ignore", HERE / "peer" / "python_query.py", model, f"{prefix}.faiss"],
                          check=True, capture_output=True, text=True)
    figures = json.loads(said.stdout.splitlines()[-1])
    print("Python (transformers, faiss-cpu flat) on the clustered vectors:")
    print(f"  a program for each question            {figures['cold_ms']:7.0f} ms")
    print(f"  kept running, p50 and p99              {figures['warm_ms'][0]:7.0f} ms {figures['warm_ms'][1]:7.0f} ms; "
          f"{figures['rss_mib']:.0f} MiB", flush=True)


def demo_index(folder):
    """A real index of drawn pictures, with the demo model."""
    pictures, index = folder / "images", folder / "imageindex"
    subprocess.run([BIN / "draw-demo-pictures", pictures, "--count", "3000", "--seed", "7"], check=True, stdout=subprocess.DEVNULL)
    hosts = folder / "hosts"
    hosts.write_text(f"localhost work_dir={folder}/work\n")
    subprocess.run([BIN / "controller", "--image-dir", pictures, "--hosts", hosts, "--model", "demo"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return index


def main():
    args = argparse.ArgumentParser()
    args.add_argument("data", type=pathlib.Path)
    args.add_argument("--rows", type=int, default=1_000_000)
    args.add_argument("--folder", type=pathlib.Path)
    args.add_argument("--kinds", default="clustered,demo")
    a = args.parse_args()
    for kind in a.kinds.split(","):
        with tempfile.TemporaryDirectory(dir=a.folder, prefix="imagefleet-ask-") as folder:
            folder = pathlib.Path(folder)
            prefix = folder / "million" / "imageindex"
            prefix.parent.mkdir()
            model = a.data / "b32" if kind == "clustered" else None
            how = ["clustered"] if kind == "clustered" else ["like", demo_index(folder)]
            subprocess.run([BIN / "examples" / "vectors", str(a.rows), prefix, model or "demo", *how], check=True)
            measure(f"{a.rows:,} x {512 if model else 128}, {kind}", folder, prefix, model)
            if model:
                python_way(prefix, model)


if __name__ == "__main__":
    main()
