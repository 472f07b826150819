// What stands where: from a /stats.json and the history to the page. Nothing here asks the daemon for anything.

// --- tiles: the figures at a glance -------------------------------------------------------------------------------------------

const SPARK_SECONDS = 120;

/** Each: what is large (`figure`), what stands below it (`lines`), and what is drawn along its foot. */
const TILES = [
    {
        id: "hit-ratio", label: "Hit ratio", tone: "blue", key: "hitRatio", scale: "share",
        figure: (stats) => percentParts(stats.hit_ratio.minute ?? stats.hit_ratio.total),
        lines: (stats) => {
            const { minute, total } = stats.hit_ratio;
            if (total === null) return ["nothing was read yet"];
            return minute === null ? ["since the start", "no reads in the last minute"] : ["over the last minute", `${percent(total)} since the start`];
        },
    },
    {
        id: "operations", label: "Operations", tone: "teal", key: "operations",
        figure: (_, now) => perSecond(now?.operations),
        lines: (_, now) => [`${rate(now && now.hits + now.misses)} reads`, `${rate(now?.writes)} writes, ${rate(now?.others)} other`],
    },
    {
        id: "latency", label: "Read latency, p99", tone: "purple", key: "readP99",
        figure: (_, now, recent) => latencyParts(recent("readP99")),
        lines: (_, now, recent) => [`${latency(recent("readP50"))} median`, `${latency(recent("readP999"))} p99.9`],
    },
    {
        id: "memory", label: "Memory", tone: "blue", key: "pagesBytes",
        figure: (stats) => bytesParts(stats.memory.pages_bytes),
        lines: ({ memory }) => [
            `${percent(shareOf(memory.pages_bytes, memory.limit_bytes))} of ${bytes(memory.limit_bytes)}`,
            `${percent(shareOf(memory.wasted_bytes, memory.pages_bytes))} of it wasted`,
        ],
    },
    {
        id: "evictions", label: "Evictions", tone: "orange", key: "evictions",
        figure: (stats, now) => perSecond(now?.evictions ?? stats.evictions.per_second),
        lines: ({ evictions }) => [
            `${count(evictions.total)} since the start`,
            evictions.oldest_seconds === null ? "no oldest item yet" : `oldest unused ${span(evictions.oldest_seconds)}`,
        ],
    },
    {
        id: "connections", label: "Connections", tone: "teal", key: "connections",
        figure: (stats) => countParts(stats.connections.current),
        lines: ({ connections }) => [
            `of ${count(connections.limit)}`,
            connections.is_accepting ? `${count(connections.rejected)} refused` : "accepts no more",
        ],
    },
];

const perSecond = (value) => {
    const parts = rateParts(value);
    return { number: parts.number, unit: isKnown(value) ? `${parts.unit}/s` : "" };
};

const shareOf = (part, whole) => (isKnown(part) && whole > 0 ? part / whole : null);

function makeTiles(place) {
    return TILES.map((tile) => {
        const figure = element("p", { class: "figure" });
        const lines = [element("p", { class: "line" }), element("p", { class: "line" })];
        const card = element("article", { class: `card tile tone-${tile.tone}`, id: `tile-${tile.id}` },
            element("h2", { text: tile.label }), figure, ...lines);
        setFigure(figure, { number: DASH, unit: "" });
        place.append(card);
        const spark = new Spark(card, tile.tone, tile.scale);
        return (stats, history) => {
            const data = history.last(SPARK_SECONDS);
            const now = data.samples.at(-1);
            const recent = (key) => recentOf(data.samples, key);
            setFigure(figure, tile.figure(stats, now, recent));
            const texts = tile.lines(stats, now, recent);
            lines.forEach((line, at) => setText(line, texts[at] ?? ""));
            spark.show(data, tile.key, SPARK_SECONDS);
        };
    });
}

/** The median of the last ten known seconds: a single second's p99 jumps too much to be read as a figure. */
function recentOf(samples, key) {
    const values = samples.slice(-10).map((sample) => sample[key]).filter(isKnown).sort((a, b) => a - b);
    return values.length > 0 ? values[values.length >> 1] : null;
}

// --- charts -------------------------------------------------------------------------------------------------------------------

const latencySeries = (side) => [
    { key: `${side}P999`, label: "p99.9", tone: "purple", dash: "dots" },
    { key: `${side}P99`, label: "p99", tone: "purple", dash: "thin" },
    { key: `${side}P50`, label: "median", tone: "purple", dash: "thick", isFilled: true },
];

const CHARTS = [
    {
        id: "chart-operations", title: "Operations", hint: "per second", form: rate, isStacked: true, least: 10,
        series: [
            { key: "hits", label: "hits", tone: "blue", isBlock: true },
            { key: "misses", label: "misses", tone: "orange", isBlock: true },
            { key: "writes", label: "writes", tone: "teal", isBlock: true },
            { key: "others", label: "other", tone: "grey", isBlock: true },
        ],
        absent: "No operations yet",
    },
    { id: "chart-latency", title: "Latency", hint: "in the daemon", form: latency, scale: "log", series: latencySeries("read"), absent: "No requests timed yet" },
    { id: "chart-hit-ratio", title: "Hit ratio", form: percent, scale: "share", series: [{ key: "hitRatio", label: "hits of all reads", tone: "blue" }], absent: "No reads yet" },
    { id: "chart-evictions", title: "Evictions", hint: "per second", form: rate, least: 1, series: [{ key: "evictions", label: "evicted", tone: "orange", isFilled: true }] },
    { id: "chart-oldest", title: "Oldest item", hint: "since its last use", form: span, steps: CLOCK, least: 60, series: [{ key: "oldest", label: "unused for", tone: "teal", isFilled: true }], absent: "No item yet" },
    {
        id: "chart-network", title: "Network", hint: "per second", form: bytes, steps: BINARY, least: 1024,
        series: [{ key: "sent", label: "sent", tone: "blue" }, { key: "received", label: "received", tone: "orange", dash: "dashes" }],
    },
    { id: "chart-processor", title: "Processor", hint: "cores in use", form: (value) => (isKnown(value) ? value.toFixed(2) : DASH), least: 0.5, series: [{ key: "cores", label: "cores", tone: "purple", isFilled: true }] },
    { id: "chart-connections", title: "Connections", form: count, least: 10, series: [{ key: "connections", label: "open", tone: "teal", isFilled: true }] },
];

function makeCharts() {
    const charts = new Map();
    let cursor = null;
    const move = (time) => {
        cursor = time;
        for (const chart of charts.values()) chart.point(time);
    };
    for (const { id, ...options } of CHARTS) {
        const chart = new Chart(byId(id), options);
        chart.follow(move);
        charts.set(id, chart);
    }
    return {
        show(history, window) {
            const data = history.last(window);
            for (const chart of charts.values()) chart.show(data, window, history.starts, cursor);
        },
        chooseSide(side) {
            const chart = charts.get("chart-latency");
            chart.series = latencySeries(side);
            chart.draw();
        },
    };
}

// --- warnings -----------------------------------------------------------------------------------------------------------------

const SIGNS = {
    critical: ["M5 1h6l4 4v6l-4 4H5l-4-4V5z", "M7.1 4h1.8v5H7.1zM7.1 10.2h1.8V12H7.1z"],
    warning: ["M8 1l7.5 14H.5z", "M7.1 6h1.8v4.4H7.1zM7.1 11.5h1.8v1.8H7.1z"],
};

function warningItem() {
    const sign = svg("svg", { class: "sign", viewBox: "0 0 16 16", "aria-hidden": "true" });
    const word = element("strong");
    const text = element("span");
    const item = element("li", { class: "notice" }, sign, element("p", {}, word, " ", text));
    item.update = ({ severity, text: sentence }) => {
        const kind = severity === "critical" ? "critical" : "warning";
        item.className = `notice ${kind}`;
        if (sign.dataset.kind !== kind) {
            sign.dataset.kind = kind;
            const [shape, cut] = SIGNS[kind];
            sign.replaceChildren(svg("path", { d: shape }), svg("path", { class: "cut", d: cut }));
        }
        setText(word, kind === "critical" ? "Critical." : "Warning.");
        setText(text, sentence);
    };
    return item;
}

function showWarnings(list, { warnings }) {
    keepRows(list, warnings, unique((warning) => warning.code), warningItem);
}

/** A key made unique by how often it was seen, should the daemon say one twice. */
function unique(keyOf) {
    const seen = new Map();
    return (entry) => {
        const key = String(keyOf(entry));
        const times = seen.get(key) ?? 0;
        seen.set(key, times + 1);
        return `${key} ${times}`;
    };
}

// --- memory -------------------------------------------------------------------------------------------------------------------

const MEMORY_PARTS = [
    { tone: "blue", label: "items", of: (memory) => memory.items_bytes },
    { tone: "waste", label: "wasted", of: (memory) => memory.wasted_bytes },
    { tone: "spare", label: "free in pages", of: (memory) => memory.free_bytes },
    { tone: "track", label: "not taken yet", of: (memory) => Math.max(0, memory.limit_bytes - memory.pages_bytes) },
];

function makeMemory() {
    const whole = bar(MEMORY_PARTS.map((part) => part.tone));
    byId("memory-bar").append(whole);
    const keys = MEMORY_PARTS.map((part) => {
        const value = element("strong");
        byId("memory-keys").append(element("li", {},
            element("span", { class: `block fill-${part.tone}`, "aria-hidden": "true" }), element("span", { text: part.label }), value));
        return value;
    });
    return ({ memory, classes }) => {
        const width = Math.max(memory.limit_bytes, memory.pages_bytes, 1);
        whole.show(MEMORY_PARTS.map((part) => part.of(memory) / width));
        MEMORY_PARTS.forEach((part, at) => setText(keys[at], `${bytes(part.of(memory))}, ${percent(part.of(memory) / width)}`));
        setText(byId("memory-more"), [
            plural(memory.items, "item"),
            `limit ${bytes(memory.limit_bytes)}`,
            memory.items > 0 ? `${bytes(memory.items_bytes / memory.items)} an item on average` : "",
            `index ${bytes(memory.index_bytes)}`,
            isKnown(memory.resident_bytes) ? `resident ${bytes(memory.resident_bytes)}` : "",
            memory.swapped_bytes > 0 ? `swapped out ${bytes(memory.swapped_bytes)}` : "",
        ].filter(Boolean).join(" · "));
        showClasses(classes);
    };
}

function showClasses(classes) {
    const widest = Math.max(1, ...classes.map((one) => one.pages_bytes));
    byId("classes-absent").hidden = classes.length > 0;
    byId("classes").classList.toggle("is-empty", classes.length === 0);
    setText(byId("classes-hint"), classes.length > 0 ? `${classes.length} in use · a bar is a class's pages: items, wasted, free` : "");
    keepRows(byId("class-rows"), classes, (one) => one.class, () => {
        const parts = bar(["blue", "waste", "spare"]);
        const row = tableRow([
            { heading: "Class", isHead: true, kind: "id" },
            { heading: "Chunk", kind: "num" },
            { heading: "Items", kind: "num" },
            { heading: "Memory", kind: "grow bar-cell" },
            { heading: "Size", kind: "num" },
            { heading: "Wasted", kind: "num" },
            { heading: "Evicted", kind: "num" },
            { heading: "Oldest", kind: "num" },
        ], (cells, one, most) => {
            setText(cells[0], String(one.class));
            setText(cells[1], bytes(one.chunk_bytes));
            setText(cells[2], count(one.items));
            parts.show([one.items_bytes, one.wasted_bytes, one.free_bytes].map((value) => value / most));
            setText(cells[4], bytes(one.pages_bytes));
            setText(cells[5], percent(shareOf(one.wasted_bytes, one.pages_bytes)));
            setText(cells[6], count(one.evictions));
            setText(cells[7], span(one.oldest_seconds));
            row.classList.toggle("is-alarming", one.no_memory > 0);
            row.title = `${plural(one.pages, "page")}; hot ${one.hot}, warm ${one.warm}, cold ${one.cold}, temporary ${one.temporary}; ` +
                `${count(one.hits)} hits, ${count(one.sets)} sets; out of memory ${plural(one.no_memory, "time")}`;
        });
        row.children[3].append(parts);
        return row;
    }, widest);
}

// --- keys, commands, histograms, lists ----------------------------------------------------------------------------------------

function showHotKeys({ hot_keys: { names_shown: isNamed, keys } }) {
    setText(byId("hot-keys-hint"), isNamed ? "sampled" : "sampled; names are hidden, -o admin_keys shows them");
    byId("hot-keys-absent").hidden = keys.length > 0;
    const most = Math.max(1e-9, ...keys.map((one) => one.share));
    keepRows(byId("hot-key-rows"), keys, unique((one) => one.hash), () => {
        const part = bar(["blue"]);
        const share = element("span", { class: "share-text" });
        const both = element("span", { class: "share-bar" }, part, share);
        const row = tableRow([{ heading: "Key", isHead: true, kind: "grow key" }, { heading: "Share", kind: "share" }, { heading: "Requests/s", kind: "num" }],
            (cells, one, largest) => {
                setText(cells[0], one.key ?? `#${one.hash}`);
                cells[0].title = one.key ?? "";
                cells[0].classList.toggle("is-hidden-name", one.key === null);
                part.show([one.share / largest]);
                setText(share, percent(one.share));
                setText(cells[2], rate(one.per_second));
            });
        row.children[1].append(both);
        return row;
    }, most);
}

/** Where a latency stands between 1 µs and 1 s, from 0 to 1. */
const spreadAt = (us) => Math.min(1, Math.max(0, Math.log10(Math.max(us, 1)) / 6));
const SPREAD_CELLS = 30;

function showCommands({ latency: { window_seconds: seconds, samples_per_second: samples, commands } }) {
    const used = commands.filter((one) => one.samples > 0);
    setText(byId("commands-hint"), used.length > 0 ? `the last ${span(seconds)}, ${rate(samples)} timed a second` : "");
    byId("commands-absent").hidden = used.length > 0;
    byId("commands").classList.toggle("is-empty", used.length === 0);
    keepRows(byId("command-rows"), used, (one) => one.command, () => {
        const strip = element("span", { class: "strip", "aria-hidden": "true" });
        for (let at = 0; at < SPREAD_CELLS; at += 1) strip.append(element("span"));
        const row = tableRow([
            { heading: "Command", isHead: true, kind: "command" }, { heading: "Spread", kind: "grow spread" }, { heading: "Median", kind: "num" },
            { heading: "p99", kind: "num" }, { heading: "p99.9", kind: "num" }, { heading: "Max", kind: "num" },
        ], (cells, one) => {
            setText(cells[0], one.command);
            showSpread(strip, one.buckets);
            [one.p50_us, one.p99_us, one.p999_us, one.max_us].forEach((value, at) => setText(cells[at + 2], latency(value)));
            row.title = `${plural(one.samples, "request")} timed, which stand for ${count(one.requests)}; mean ${latency(one.mean_us)}`;
        });
        row.children[1].append(strip);
        return row;
    });
}

/** From 1 µs on the left to 1 s on the right; how dark a cell is says how many fell there. */
function showSpread(strip, buckets) {
    const cells = new Array(SPREAD_CELLS).fill(0);
    for (const [upTo, requests] of buckets) cells[Math.min(SPREAD_CELLS - 1, Math.floor(spreadAt(upTo * 0.92) * SPREAD_CELLS))] += requests;
    const most = Math.max(1, ...cells);
    cells.forEach((value, at) => {
        strip.children[at].style.opacity = value > 0 ? (0.18 + 0.82 * Math.sqrt(value / most)).toFixed(2) : "0";
    });
}

/** `bars`: [{ label, short, value }]; labels that would not fit beside each other are left out below the bars. */
function showHistogram(list, bars) {
    const all = bars.reduce((sum, one) => sum + one.value, 0);
    const most = Math.max(1, ...bars.map((one) => one.value));
    const every = Math.ceil(bars.length / 8);
    keepRows(list, bars, (one) => one.label, () => {
        const column = element("span", { class: "column", "aria-hidden": "true" });
        const fill = column.appendChild(element("span", { class: "fill" }));
        const top = element("span", { class: "top-text", "aria-hidden": "true" });
        const foot = element("span", { class: "foot", "aria-hidden": "true" });
        const text = element("span", { class: "unseen" });
        const item = element("li", {}, top, column, foot, text);
        item.update = (one, at, { most, all, every }) => {
            fill.style.height = one.value > 0 ? `${Math.max(1.5, (one.value / most) * 100).toFixed(1)}%` : "0";
            setText(foot, at % every === 0 || one.isAlways ? one.short : "");
            setText(top, one.value > 0 ? percent(one.value / all) : "");
            item.title = `${one.label}: ${count(one.value)} (${percent(one.value / all)})`;
            setText(text, item.title);
        };
        return item;
    }, { most, all, every });
    list.hidden = all === 0;
    return all;
}

/** A bar for every step between the first and the last that occurred, so that distance means something. */
function ladder(buckets, next) {
    if (buckets.length === 0) return [];
    const found = new Map(buckets);
    const last = buckets.at(-1)[0];
    const steps = [];
    for (let at = buckets[0][0]; at <= last && steps.length < 40; at = Math.max(next(at), at + 1)) steps.push([at, found.get(at) ?? 0]);
    // Bounds that are no such steps are shown as they come.
    return buckets.every(([bound]) => steps.some(([step]) => step === bound)) ? steps : buckets;
}

function showStored({ stored }) {
    const sizes = ladder(stored.sizes, (size) => size * 2).map(([upTo, value]) => ({ label: `up to ${bytes(upTo)}`, short: bytes(upTo), value }));
    const ttls = stored.ttls.map(([upTo, value]) => ({ label: `up to ${span(upTo)}`, short: span(upTo).split(" ")[0], value }));
    if (stored.without_ttl > 0) ttls.push({ label: "without an end", short: "∞", value: stored.without_ttl, isAlways: true });
    const sized = showHistogram(byId("size-bars"), sizes);
    const timed = showHistogram(byId("ttl-bars"), ttls);
    byId("sizes-absent").hidden = sized > 0;
    byId("ttls-absent").hidden = timed > 0;
    setText(byId("sizes-hint"), sized > 0 ? "sampled stores since the start" : "");
    setText(byId("ttls-hint"), timed > 0 ? "sampled stores since the start" : "");
}

function sampledPrefixes(sampled) {
    if (!sampled || sampled.rows.length === 0) return [];
    return [...sampled.rows, { prefix: "(all others)", hash: "other", ...sampled.others }, { prefix: "(none)", hash: "none", ...sampled.without }];
}

function showPrefixes({ prefixes }) {
    // While `stats detail` does not count exactly there are the estimates from samples.
    const isExact = prefixes.is_counting || prefixes.rows.length > 0;
    const rows = isExact ? prefixes.rows : sampledPrefixes(prefixes.sampled);
    byId("prefixes").hidden = !prefixes.is_counting && rows.length === 0;
    const names = prefixes.names_shown ? `before “${prefixes.delimiter}”` : "names are hidden, -o admin_keys shows them";
    setText(byId("prefixes-hint"), isExact ? names : `${names}; estimated from samples`);
    keepRows(byId("prefix-rows"), rows, unique((one) => one.hash), () => tableRow([
        { heading: "Prefix", isHead: true, kind: "grow key" }, { heading: "Gets", kind: "num" }, { heading: "Hit ratio", kind: "num" },
        { heading: "Sets", kind: "num" }, { heading: "Deletes", kind: "num" },
    ], (cells, one) => {
        setText(cells[0], one.prefix ?? `#${one.hash}`);
        cells[0].classList.toggle("is-hidden-name", one.prefix === null);
        setText(cells[1], count(one.gets));
        setText(cells[2], percent(shareOf(one.hits, one.gets)));
        setText(cells[3], count(one.sets));
        setText(cells[4], count(one.deletes));
    }));
}

function showFacts(stats) {
    const { connections, processor, certificate } = stats;
    const facts = [
        ["Open", `${count(connections.current)} of ${count(connections.limit)}`],
        ["Since the start", count(connections.total)],
        ["Refused", count(connections.rejected)],
        ["Processor", isKnown(processor.cores_used) ? `${processor.cores_used.toFixed(2)} cores` : DASH],
    ];
    if (certificate) {
        const { days_left: days, handshake_errors: errors } = certificate;
        facts.push(["Certificate", !isKnown(days) ? DASH : days < 0 ? `expired ${span(-days * 86400)} ago` : `${span(days * 86400)} left`]);
        facts.push(["Failed handshakes", count(errors)]);
    }
    keepRows(byId("facts"), facts, ([name]) => name, () => {
        const [name, value] = [element("dt"), element("dd")];
        const pair = element("div", {}, name, value);
        pair.update = ([term, text]) => { setText(name, term); setText(value, text); };
        return pair;
    });
    keepRows(byId("listener-rows"), connections.listeners, unique((one) => one.address), () => tableRow(
        [{ heading: "Listener", isHead: true, kind: "grow key" }, { heading: "Connections", kind: "num" }],
        (cells, one) => { setText(cells[0], one.address); setText(cells[1], count(one.connections)); }));
    keepRows(byId("worker-rows"), stats.workers, (one) => one.worker, () => tableRow(
        [{ heading: "Worker", isHead: true, kind: "grow" }, { heading: "Loop turns/s", kind: "num" }],
        (cells, one) => {
            setText(cells[0], `worker ${one.worker}`);
            setText(cells[1], one.is_stalled ? "stalled" : rate(one.turns_per_second));
            cells[1].classList.toggle("is-alarming", one.is_stalled);
        }));
}

function showSettings({ settings }) {
    byId("settings-absent").hidden = settings.length > 0;
    keepRows(byId("setting-rows"), settings, unique((one) => one.name), () => tableRow(
        [{ heading: "Setting", isHead: true, kind: "key" }, { heading: "Value", kind: "grow value-cell" }, { heading: "Default", kind: "default" }],
        (cells, one) => {
            setText(cells[0], one.name);
            setText(cells[1], setting(one.name, String(one.value)));
            setText(cells[2], setting(one.name, String(one.default)));
        }));
}

function showIdentity(stats) {
    const address = (stats.connections.listeners[0]?.address ?? "").replace(/^tcp:/, "");
    const name = [stats.host_name, address].filter(Boolean).join(" ");
    setText(byId("name"), name || "slabstash");
    setText(byId("identity"), `slabstash ${stats.version} · pid ${stats.process_id} · up ${span(stats.uptime_seconds)}`);
    setText(byId("versions"), `slabstash ${stats.version}, compatible with memcached ${stats.protocol_version}`);
    const alarms = stats.warnings.length;
    const ratio = stats.hit_ratio.minute ?? stats.hit_ratio.total;
    document.title = [alarms > 0 ? `(${alarms})` : "", ratio === null ? "" : percent(ratio), name, "slabstash"].filter(Boolean).join(" · ");
}
