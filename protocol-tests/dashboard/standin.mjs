// A stand-in for the daemon's admin listener: the page's own files with the daemon's headers, and figures made up by a seed. It shows
// what a daemon that was just started cannot: a day of history, warnings of both kinds, a certificate, hostile names in every place.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";

export const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE = new URL("../../src/admin/page/", import.meta.url);
const SCRIPTS = ["format.js", "dom.js", "history.js", "chart.js", "view.js", "dashboard.js"];

export const file = (name) => readFileSync(new URL(name, PAGE), "utf8");

/** What src/admin/page.rs puts together. */
export const script = () => `(() => {\n"use strict";\n${SCRIPTS.map(file).join("")}})();\n`;

const COLUMNS = ["get_hits", "get_misses", "sets", "deletes", "others", "evictions", "read_bytes", "written_bytes", "connections", "items",
    "items_bytes", "pages_bytes", "resident_bytes", "processor_us", "read_p50_us", "read_p99_us", "read_p999_us", "write_p50_us",
    "write_p99_us", "write_p999_us", "oldest_seconds"];

export const HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>&amp;\u202e";

export class StandIn {
    constructor({ uptime = 90000, isHostile = false } = {}) {
        this.uptime = uptime;
        this.isHostile = isHostile;
        this.began = Date.now();
        this.startId = "3f9a0c51d2e87b64";
        this.isFresh = false;
        this.change = (stats) => stats;
        this.asked = [];
    }

    async start(port = 0) {
        this.server = createServer((request, response) => this.answer(request, response));
        await new Promise((resolve) => this.server.listen(port, "127.0.0.1", resolve));
        this.port = this.server.address().port;
        return `http://127.0.0.1:${this.port}/`;
    }

    async stop() {
        this.server.closeAllConnections();
        await new Promise((resolve) => this.server.close(resolve));
    }

    /** As if the daemon had been ended and started: nothing is counted, the rows begin anew. */
    restart(startId = "00000000000000aa") {
        Object.assign(this, { startId, uptime: 1, began: Date.now() });
    }

    answer(request, response) {
        const url = new URL(request.url, "http://localhost");
        this.asked.push({ path: request.url, time: Date.now() });
        const reply = (type, body, status = 200) => {
            response.writeHead(status, { "Content-Type": type, "Content-Security-Policy": POLICY, "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff", Connection: "close" });
            response.end(body);
        };
        switch (url.pathname) {
            case "/": return reply("text/html; charset=utf-8", file("index.html"));
            case "/dashboard.css": return reply("text/css; charset=utf-8", file("dashboard.css"));
            case "/dashboard.js": return reply("text/javascript; charset=utf-8", script());
            case "/stats.json": return reply("application/json", JSON.stringify(this.change(this.stats())));
            case "/history.json": return reply("application/json", JSON.stringify(this.history(url.searchParams.get("after"))));
            default: return reply("text/plain", "not found\n", 404);
        }
    }

    /** The number of the newest second. */
    get newest() { return this.uptime + Math.floor((Date.now() - this.began) / 1000) - 1; }

    row(number, step) {
        const noise = (salt) => (((Math.sin(number * 12.9898 + salt * 78.233) * 43758.5453) % 1) + 1) % 1;
        const wave = 1 + 0.35 * Math.sin(number / (step === 1 ? 70 : 180)) + 0.1 * noise(1);
        const dip = number % 211 < 24 && step === 1 ? 0.86 : 1;
        const reads = 10300 * wave * step;
        const hits = Math.round(reads * (0.978 + 0.012 * noise(2)) * dip);
        const p99 = 60 + 30 * noise(4) + (dip < 1 ? 160 : 0);
        return [hits, Math.round(reads) - hits, Math.round(811 * wave * step), Math.round(12 * noise(3) * step), Math.round(4 * noise(5) * step),
            number % 300 < 90 ? Math.round(40 * noise(6) * step) : 0, Math.round(1.2e6 * wave * step), Math.round(9.9e6 * wave * step),
            52 + Math.round(6 * noise(7)), 312345 + Math.round(800 * wave), 40000000, 50331648, 60000000, Math.round(420000 * wave * step),
            8, p99, p99 * 3, 10, p99 * 1.2, p99 * 4, 5200 + Math.round(200 * wave)];
    }

    history(after) {
        const rows = (newest, most, step) => {
            const first = Math.max(0, newest - most + 1);
            return Array.from({ length: Math.max(0, newest - first + 1) }, (_, at) => this.row(first + at, step));
        };
        const newest = this.newest;
        const newestUnix = Math.floor(Date.now() / 1000);
        const minute = Math.floor((newest + 1) / 60) - 1;
        const isPart = after !== null;
        const missing = isPart ? Math.max(0, newest - Number(after)) : 600;
        return {
            schema: 1, start_id: this.startId, columns: COLUMNS,
            seconds: { step_seconds: 1, newest: newest < 0 ? null : newest, newest_unix: newestUnix, rows: missing > 0 ? rows(newest, Math.min(600, missing), 1) : [] },
            minutes: { step_seconds: 60, newest: minute < 0 ? null : minute, newest_unix: Math.floor(newestUnix / 60) * 60, rows: isPart ? [] : rows(minute, 1440, 60) },
        };
    }

    stats() {
        const name = (text) => (this.isHostile ? HOSTILE : text);
        const row = this.row(this.newest, 1);
        const uptime = this.uptime + (Date.now() - this.began) / 1000;
        const classes = [[1, 96], [3, 152], [5, 240], [7, 384], [9, 600], [11, 944], [14, 1848], [18, 4544], [24, 17376]].map(([id, chunk], at) => {
            const pages = Math.max(1, 12 - Math.abs(at - 2) * 2);
            const size = pages * 1048576;
            const wasted = Math.round(size * (0.04 + 0.02 * at));
            const free = Math.round(size * (at % 3 === 0 ? 0.11 : 0.02));
            return { class: id, chunk_bytes: chunk, pages, pages_bytes: size, items: Math.floor((size - free) / chunk), items_bytes: size - wasted - free,
                free_bytes: free, wasted_bytes: wasted, hot: 800, warm: 1600, cold: 1700, temporary: 0, oldest_seconds: 5321 - at * 400,
                evictions: at === 2 ? 12 : 0, evicted_age_seconds: 3600, hits: 99123, sets: 41200, no_memory: 0 };
        });
        const sum = (field) => classes.reduce((total, one) => total + one[field], 0);
        const latency = (command, requests, p50) => ({ command, requests, samples: Math.round(requests / 40), mean_us: p50 * 1.4, p50_us: p50, p90_us: p50 * 2.2,
            p99_us: p50 * 8, p999_us: p50 * 24, max_us: p50 * 56, buckets: Array.from({ length: 26 }, (_, at) => {
                const bound = p50 * 0.4 * 1.19 ** (at * 1.1);
                return [bound, Math.round(requests * Math.exp(-((Math.log(bound / p50)) ** 2) / 0.6) / 5)];
            }) });
        return {
            schema: 1, start_id: this.startId, version: "0.1.0", protocol_version: "1.6.45", host_name: name("cache-7"), process_id: 4711,
            now_unix: Date.now() / 1000, uptime_seconds: uptime, is_ready: true, is_healthy: true,
            hit_ratio: { total: 0.9731, minute: 0.9812 },
            operations: [{ command: "get", total: 1200000, hits: 1167720, misses: 32280, per_second: row[0] + row[1] }],
            latency: { window_seconds: 87, samples_per_second: 240, commands: [latency("get", 880000, 8), latency("set", 70000, 10), latency("delete", 900, 6), latency("mg", 120000, 900), latency("prepend", 1200, 90),
                { command: "ma", requests: 0, samples: 0, mean_us: null, p50_us: null, p90_us: null, p99_us: null, p999_us: null, max_us: null, buckets: [] }] },
            memory: { limit_bytes: 67108864, pages_bytes: sum("pages_bytes"), items_bytes: sum("items_bytes"), free_bytes: sum("free_bytes"),
                wasted_bytes: sum("wasted_bytes"), index_bytes: 1048576, resident_bytes: 71303168, swapped_bytes: 0, items: sum("items"), free_pages: 3 },
            classes,
            evictions: { total: 1212, per_second: row[5], never_fetched: 3, expired_never_fetched: 9, oldest_seconds: row[20], evicted_age_seconds: 3600 },
            connections: { current: row[8], limit: 1024, total: 900, rejected: 0, is_accepting: true,
                listeners: [{ address: name("tcp:10.0.0.7:11211"), connections: row[8] - 2 }, { address: "unix:/run/slabstash.sock", connections: 2 }] },
            network: { read_bytes: 1, written_bytes: 1, read_per_second: 120000, written_per_second: 998000 },
            processor: { user_seconds: 1234.5, system_seconds: 2345.6, cores_used: 0.42 },
            workers: [{ worker: 0, loop_turns: 5123456, turns_per_second: 8123, is_stalled: false }, { worker: 1, loop_turns: 5123456, turns_per_second: 7904, is_stalled: false }],
            hot_keys: { names_shown: true, keys: Array.from({ length: 16 }, (_, at) => ({
                key: at === 1 ? name("session:9f2c") : ["user:1017:profile", "session:9f2c", "feed:home:en", "rate:10.4.1.9", "product:88112"][at % 5] + (at > 4 ? `:${at}` : ""),
                hash: (0x9c01f3aa + at * 7919).toString(16), per_second: 812.5 / (at + 1), share: 0.078 / (at + 1) })) },
            prefixes: { is_counting: true, delimiter: ":", names_shown: true, rows: [{ prefix: name("user"), hash: "77aa", gets: 812345, hits: 790000, sets: 21000, deletes: 310 },
                { prefix: "session", hash: "77ab", gets: 412345, hits: 402111, sets: 61000, deletes: 1200 }] },
            stored: { sizes: [[16, 120], [32, 640], [64, 1200], [128, 5000], [256, 8100], [512, 4300], [1024, 2100], [2048, 800], [4096, 420], [16384, 120], [1048576, 3]],
                ttls: [[60, 100], [300, 2000], [3600, 9000], [86400, 4000], [604800, 400]], without_ttl: 4500 },
            certificate: { expires_unix: 1771000000, days_left: 80.9, handshake_errors: 0 },
            settings: [{ name: "maxbytes", value: "1073741824", default: "67108864" }, { name: "maxconns", value: "4096", default: "1024" },
                { name: "admin_listen", value: name("127.0.0.1:11280"), default: "" }],
            warnings: [{ severity: "critical", code: "worker_stalled", text: name("Worker 1 has not turned for 7 seconds.") },
                { severity: "warning", code: "certificate_expires", text: "The certificate expires in 6 days." }],
            latest_second: this.newest,
        };
    }
}

// `node standin.mjs PORT` serves it for looking at.
if (process.argv[1] === new URL(import.meta.url).pathname) {
    console.log(await new StandIn().start(Number(process.argv[2] ?? 21290)));
}
