// Asking the daemon once a second while somebody looks, and saying how that goes.
//
//     loading -> live <-> gone      shown by <body data-state>; "paused" while the page is not visible
//
// One question at a time, the next a second after the last began. A daemon that does not answer is asked again after 1, 2, 4, 8 and
// then every 15 seconds; what was known stays, greyed. A daemon with another start id has begun anew.

const POLL_MS = 1000;
const ANSWER_MS_MAX = 5000;
const BACK_OFF_MS = [1000, 2000, 4000, 8000, 15000];
const MINUTES_EVERY_SECONDS = 60;
const SCHEMA = 1;

const history = new History();
const tiles = makeTiles(byId("tiles"));
const charts = makeCharts();
const showMemory = makeMemory();

const page = {
    state: "loading",
    stats: null,
    window: 600,
    lastAnswer: null, // When the last good answer came, by this browser's clock, ms.
    goneSince: null,
    failures: 0,
    timer: null,
    nextAt: null,
    isAsking: false,
    wholeAt: null, // The daemon's time at which the whole history was last taken.
};

// --- asking -------------------------------------------------------------------------------------------------------------------

async function fetchJson(path) {
    const answer = await fetch(path, { cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    if (!answer.ok) throw new Error(`the answer to ${path} has status ${answer.status}`);
    return answer.json();
}

async function ask() {
    const stats = await fetchJson("stats.json");
    if (stats.schema !== SCHEMA) throw new Error(`it speaks schema ${stats.schema}, this page ${SCHEMA}: reload the page`);
    const before = page.stats;
    const isRestart = before !== null && before.start_id !== stats.start_id;
    if (isRestart) history.restarted(stats.now_unix - stats.uptime_seconds);
    const isMinuteDue = page.window > 600 && stats.now_unix - (page.wholeAt ?? 0) >= MINUTES_EVERY_SECONDS;
    if (history.newest === null || isMinuteDue || !history.take(await fetchJson(`history.json?after=${history.newest}`), false)) {
        history.take(await fetchJson("history.json"), true);
        page.wholeAt = stats.now_unix;
    }
    page.stats = stats;
    page.lastAnswer = Date.now();
    if (isRestart) sayRestarted(before, stats);
}

async function turn() {
    if (page.isAsking) return;
    page.isAsking = true;
    const began = Date.now();
    let wait;
    try {
        await ask();
        page.failures = 0;
        page.goneSince = null;
        setState("live");
        show();
        wait = Math.max(100, POLL_MS - (Date.now() - began));
    } catch (error) {
        page.goneSince ??= page.lastAnswer ?? began;
        sayGone(error);
        setState("gone");
        wait = BACK_OFF_MS[Math.min(page.failures, BACK_OFF_MS.length - 1)];
        page.failures += 1;
    }
    page.isAsking = false;
    schedule(wait);
}

function schedule(wait) {
    clearTimeout(page.timer);
    page.nextAt = Date.now() + wait;
    if (document.visibilityState === "visible") page.timer = setTimeout(turn, wait);
}

function turnNow() {
    clearTimeout(page.timer);
    turn();
}

// --- saying -------------------------------------------------------------------------------------------------------------------

function setState(state) {
    page.state = state;
    document.body.dataset.state = state;
    byId("main").setAttribute("aria-busy", String(state === "loading"));
    byId("gone").hidden = state !== "gone";
    setText(byId("state"), { loading: "Connecting", live: "Live", gone: "No answer", paused: "Paused" }[state]);
    if (state === "gone") document.title = `no answer · ${byId("name").textContent}`;
}

function sayGone(error) {
    // A refused connection is a TypeError with a text that differs by browser and helps nobody.
    const reason = error instanceof TypeError || error.name === "TimeoutError" || error.name === "AbortError" ? "" : ` (${error.message})`;
    const text = page.stats === null
        ? `The daemon does not answer${reason}.`
        : `No answer since ${clock(page.goneSince / 1000)}${reason}. The figures below are from then.`;
    setText(byId("gone-text"), text);
}

function sayRestarted(before, stats) {
    const started = stats.now_unix - stats.uptime_seconds;
    const away = page.goneSince === null ? "" : ` after no answer since ${clock(page.goneSince / 1000)}`;
    const isOther = before.version !== stats.version;
    setText(byId("restarted-text"), `The daemon began anew at ${clock(started)}${away}. Its counters start from nought.` +
        (isOther ? ` It is now version ${stats.version}, was ${before.version}.` : ""));
    byId("reload").hidden = !isOther;
    byId("restarted").hidden = false;
}

/** What passes while the daemon is away. */
function tick() {
    if (page.state !== "gone") return;
    const seconds = Math.max(0, Math.ceil((page.nextAt - Date.now()) / 1000));
    const away = page.stats === null ? "" : `${span((Date.now() - page.goneSince) / 1000)} ago. `;
    setText(byId("gone-next"), page.isAsking || seconds === 0 ? "Trying …" : `${away}Next try in ${seconds}${THIN}s.`);
}

function show() {
    const { stats } = page;
    showIdentity(stats);
    showWarnings(byId("warnings").firstElementChild, stats);
    for (const tile of tiles) tile(stats, history);
    charts.show(history, page.window);
    showMemory(stats);
    showHotKeys(stats);
    showCommands(stats);
    showStored(stats);
    showPrefixes(stats);
    showFacts(stats);
    showSettings(stats);
}

// --- listening ----------------------------------------------------------------------------------------------------------------

document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") {
        turnNow();
    } else {
        clearTimeout(page.timer);
        if (page.state === "live") setState("paused");
    }
});

byId("retry").addEventListener("click", turnNow);
byId("reload").addEventListener("click", () => location.reload());
byId("dismiss").addEventListener("click", () => { byId("restarted").hidden = true; });
byId("window").addEventListener("change", (event) => {
    page.window = Number(event.target.value);
    if (page.stats === null) return;
    charts.show(history, page.window);
    if (page.window > 600) page.wholeAt = null;
});
byId("side").addEventListener("change", (event) => charts.chooseSide(event.target.value));
setInterval(tick, 500);
turn();
