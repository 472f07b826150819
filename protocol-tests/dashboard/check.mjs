// The dashboard in a browser: first against the stand-in, for what a daemon just started cannot show, then against a real daemon under
// load, which is killed and started again while the page looks on. `--screenshots FOLDER` makes the pictures of docs/dashboard.md.

import { parseArgs } from "node:util";
import { check, checkEqual, checkSoon, counts, Daemon, Load, openBrowser, openPage, pause } from "./harness.mjs";
import { takeScreenshots } from "./screenshots.mjs";
import { HOSTILE, StandIn } from "./standin.mjs";
import { checkUnits } from "./units.mjs";

const { values: options } = parseArgs({ options: { server: { type: "string" }, screenshots: { type: "string" } } });
const WIDTHS = [320, 360, 480, 768, 1024, 1440, 1920];
/** Seconds within which a key that is one in sixty of what is asked for is in a sample: one is expected every five. */
const SAMPLED_SECONDS = 60;

// --- what is true of every page -----------------------------------------------------------------------------------------------

function checkQuiet(page, what, isAllowed = () => false) {
    const troubles = page.troubles.filter((text) => !isAllowed(text));
    check(troubles.length === 0, `${what}: no error on the console`, troubles.slice(0, 3).join(" | "));
    check(page.foreign.length === 0, `${what}: no request leaves the origin`, page.foreign.join(" "));
}

async function checkWidths(page, what) {
    for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: 800 });
        await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
        checkEqual(await page.overflow(), 0, `${what}: nothing sticks out at ${width} pixels`);
    }
    await page.setViewportSize({ width: 1440, height: 900 });
}

/** The tallest bar fills its place and none is taller. */
const areBarsWithin = (page) => page.evaluate(() => [...document.querySelectorAll(".histogram")].every((list) => {
    const shares = [...list.querySelectorAll(".column")].map((column) => column.firstElementChild.getBoundingClientRect().height / column.clientHeight);
    return Math.abs(Math.max(...shares) - 1) < 0.05;
}));

async function checkMarkup(page) {
    const lacking = await page.evaluate(() => {
        const found = [];
        const isNamed = (node) => node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.length;
        for (const node of document.querySelectorAll("button, a, input, [role=region], section")) {
            const label = node.getAttribute("aria-labelledby");
            if (!(label ? document.getElementById(label) : isNamed(node))) found.push(node.outerHTML.slice(0, 80));
        }
        for (const node of document.querySelectorAll("svg")) {
            if (node.getAttribute("aria-hidden") !== "true" && !node.getAttribute("aria-label")) found.push(node.outerHTML.slice(0, 80));
        }
        const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
        return [...found, ...ids.filter((id, at) => ids.indexOf(id) !== at)];
    });
    check(lacking.length === 0, "everything that can be reached has a name, and every id is there once", lacking.join(" | "));
    checkEqual(await page.locator("h1").count(), 1, "there is one main heading");
}

// --- the stand-in -------------------------------------------------------------------------------------------------------------

async function checkStandIn(browser) {
    const standin = new StandIn();
    const page = await openPage(browser, await standin.start());
    await checkSoon(async () => await page.state() === "live", "the page goes live");
    checkEqual((await page.textOf("#tile-hit-ratio .figure")).replace(/\s/g, ""), "98.1%", "the hit ratio stands there large");
    checkEqual(await page.locator("#warnings li").count(), 2, "both warnings are shown");
    check((await page.textOf("#warnings li")).startsWith("Critical."), "the kind of a warning is a word");
    checkEqual(await page.locator("#class-rows tr").count(), 9, "every slab class has its row");
    checkEqual(await page.locator("#hot-key-rows tr").count(), 16, "sixteen hot keys are shown");
    check(/80\s?d/.test(await page.textOf("#facts")), "the certificate's days are shown", await page.textOf("#facts"));
    await checkMarkup(page);
    await checkWidths(page, "stand-in");
    check(await areBarsWithin(page), "no bar of a histogram is taller than its place");
    await checkReadOut(page);
    await checkSpans(page, standin);
    await checkPolling(page, standin);
    await checkReturn(page, standin);
    checkQuiet(page, "stand-in", (text) => text.includes("ERR_CONNECTION_REFUSED") || text.includes("ERR_EMPTY_RESPONSE") || text.includes("ERR_CONNECTION_RESET"));
    await page.close();
    await standin.stop();
}

async function checkReadOut(page) {
    const newest = await page.textOf("#chart-latency .legend");
    await page.locator("#chart-operations .plot").hover({ position: { x: 200, y: 60 } });
    checkEqual(await page.locator(".chart.is-pointed").count(), 8, "pointing at one chart reads out all of them");
    check(await page.locator("#chart-latency .cursor text").count() === 1, "the cursor says its time");
    await page.mouse.move(5, 5);
    checkEqual(await page.locator(".chart.is-pointed").count(), 0, "the cursor goes away with the pointer");
    check(newest.includes("median"), "the legend has words");
    await page.locator("#chart-operations .plot").focus();
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("ArrowLeft");
    const spoken = await page.locator("#chart-operations [aria-live]").textContent();
    check(/^\d\d:\d\d:\d\d: hits .*misses .*writes .*other /.test(spoken), "arrow keys read out values", spoken);
    await page.keyboard.press("Home");
    check(await page.locator("#chart-operations [aria-live]").textContent() !== spoken, "Home goes to the oldest");
    await page.keyboard.press("Escape");
    checkEqual(await page.locator(".chart.is-pointed").count(), 0, "Escape puts the cursor away");
}

async function checkSpans(page, standin) {
    await page.locator("#window label", { hasText: "24 h" }).click();
    await checkSoon(() => page.evaluate(() => document.querySelector("#chart-operations .plot").getAttribute("aria-label").includes("the last 1\u202fd")), "a day can be looked at");
    const asked = standin.asked.length;
    await checkSoon(() => standin.asked.slice(asked - 2).some(({ path }) => path === "/history.json"), "its rows are asked for");
    await page.locator("#window label", { hasText: "2 min" }).click();
    await page.locator("#side label", { hasText: "writes" }).click();
    check((await page.locator("#chart-latency .plot").getAttribute("aria-label")).includes("the last 2\u202fmin"), "two minutes can be looked at");
}

/** Once a second while visible, each time for what is new only; not at all while hidden. */
async function checkPolling(page, standin) {
    const began = standin.asked.length;
    await pause(3000);
    const asked = standin.asked.slice(began).map(({ path }) => path);
    const stats = asked.filter((path) => path === "/stats.json").length;
    check(stats >= 2 && stats <= 4, "it asks once a second", String(stats));
    check(asked.every((path) => path === "/stats.json" || path.startsWith("/history.json?after=")), "it asks for new rows only", asked.join(" "));
    const hide = (state) => page.evaluate((to) => {
        Object.defineProperty(document, "visibilityState", { value: to, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }, state);
    await hide("hidden");
    await pause(300);
    const hidden = standin.asked.length;
    await pause(2500);
    checkEqual(standin.asked.length, hidden, "it does not ask while nobody looks");
    checkEqual(await page.textOf("#state"), "Paused", "it says that it pauses");
    await hide("visible");
    await checkSoon(() => standin.asked.length > hidden, "it asks at once when somebody looks again", 0.9);
}

/** Away and back with the same start id: no restart is claimed. */
async function checkReturn(page, standin) {
    await standin.stop();
    await checkSoon(async () => await page.state() === "gone", "a daemon that does not answer is noticed");
    check((await page.textOf("#gone-text")).startsWith("No answer since "), "it says since when", await page.textOf("#gone-text"));
    checkEqual(await page.locator("#class-rows tr").count(), 9, "what was known stays");
    await pause(1500);
    check(/ago\. Next try in|Trying/.test(await page.textOf("#gone-next")), "it says when it tries again", await page.textOf("#gone-next"));
    await standin.start(standin.port);
    await page.locator("#retry").click();
    await checkSoon(async () => await page.state() === "live", "it is live again after Try now", 2);
    check(await page.locator("#restarted").isHidden(), "the same start is no restart");
}

async function checkHostile(browser) {
    const standin = new StandIn({ isHostile: true });
    const page = await openPage(browser, await standin.start());
    await checkSoon(async () => await page.state() === "live", "hostile names: the page goes live");
    const texts = ["#hot-key-rows", "#prefix-rows", "#listener-rows", "#setting-rows", "#warnings", "#name"];
    for (const place of texts) check((await page.locator(place).textContent()).includes(HOSTILE), `hostile names: ${place} shows the text`);
    checkEqual(await page.locator("main img, main script").count(), 0, "hostile names: none became an element");
    check(!(await page.title()).startsWith("owned"), "hostile names: none was run");
    await checkWidths(page, "hostile names");
    checkQuiet(page, "hostile names");
    await page.close();
    await standin.stop();
}

/** A daemon without a request, and one that speaks another schema. */
async function checkOdd(browser) {
    const standin = new StandIn({ uptime: 0 });
    standin.change = (stats) => ({ ...stats, hit_ratio: { total: null, minute: null }, classes: [], warnings: [], settings: [], workers: [],
        latency: { window_seconds: 0, samples_per_second: 0, commands: [] }, hot_keys: { names_shown: false, keys: [] },
        prefixes: { is_counting: false, delimiter: ":", names_shown: false, rows: [] }, stored: { sizes: [], ttls: [], without_ttl: 0 }, certificate: null,
        memory: { ...stats.memory, pages_bytes: 0, items_bytes: 0, free_bytes: 0, wasted_bytes: 0, items: 0, resident_bytes: null },
        evictions: { ...stats.evictions, oldest_seconds: null, evicted_age_seconds: null }, host_name: undefined });
    standin.row = () => new Array(21).fill(0).fill(null, 14);
    const page = await openPage(browser, await standin.start());
    await checkSoon(async () => await page.state() === "live", "no data yet: the page goes live");
    checkEqual(await page.textOf("#tile-hit-ratio .figure"), "–", "no data yet: a dash for the hit ratio");
    check((await page.textOf("#tile-hit-ratio")).includes("nothing was read yet"), "no data yet: it says why");
    for (const id of ["classes", "hot-keys", "commands", "sizes", "ttls", "settings"]) check(await page.locator(`#${id}-absent`).isVisible(), `no data yet: ${id} says so`);
    check(await page.locator("#prefixes").isHidden() && await page.locator("#warnings").isHidden(), "no data yet: what has nothing to say is not there");
    check(!/NaN|undefined|null|Infinity/.test(await page.locator("body").innerText()), "no data yet: no figure is a slip of the program");
    await checkWidths(page, "no data yet");
    standin.change = (stats) => ({ ...stats, schema: 2 });
    await checkSoon(async () => (await page.textOf("#gone-text")).includes("schema 2"), "another schema is said");
    checkQuiet(page, "no data yet");
    await page.close();
    await standin.stop();
}

// --- a real daemon ------------------------------------------------------------------------------------------------------------

const HOSTILE_KEY = "<img/src=x/onerror=document.title='owned'>";

async function checkDaemon(browser, binary) {
    const daemon = new Daemon(binary, ["-m", "64", "-o", "admin_keys"]);
    await daemon.start();
    let load = new Load(daemon.port, { hot: [HOSTILE_KEY, "user:1017:profile"] });
    try {
        const page = await openPage(browser, daemon.address);
        check(page.answer.headers()["content-security-policy"]?.startsWith("default-src 'none'"), "daemon: the page has a content security policy");
        await checkSoon(async () => await page.state() === "live", "daemon: the page goes live");
        const number = async (selector) => parseFloat(await page.textOf(`${selector} .number`));
        await checkSoon(async () => await number("#tile-operations") > 0, "daemon: operations are counted");
        await checkSoon(async () => await number("#tile-hit-ratio") > 0, "daemon: there is a hit ratio");
        await checkSoon(async () => await number("#tile-latency") > 0, "daemon: there is a latency");
        await checkSoon(async () => await number("#tile-memory") > 0, "daemon: memory is taken");
        await checkSoon(async () => await page.locator("#class-rows tr").count() > 3, "daemon: slab classes are shown");
        await checkSoon(async () => (await page.locator("#hot-key-rows").textContent()).includes(HOSTILE_KEY), "daemon: a hostile key is shown as text", SAMPLED_SECONDS);
        checkEqual(await page.locator("main img").count(), 0, "daemon: the hostile key became no element");
        await checkSoon(async () => await page.locator("#command-rows tr").count() >= 2, "daemon: gets and sets are timed");
        await checkSoon(async () => await page.locator("#size-bars li").count() > 3, "daemon: sizes are shown");
        check((await page.locator("#setting-rows").textContent()).includes("admin_listen"), "daemon: settings that differ are shown");
        await checkSoon(() => page.locator("#chart-operations .area").count().then((count) => count >= 3), "daemon: charts have areas");
        check(!/NaN|undefined|null|Infinity/.test(await page.locator("body").innerText()), "daemon: no figure is a slip of the program");
        const bars = await page.evaluate(() => [...document.querySelectorAll("#class-rows .bar")].every((bar) => bar.lastElementChild.getBoundingClientRect().right <= bar.getBoundingClientRect().right + 1));
        check(bars, "daemon: no bar is longer than its place");
        check(await areBarsWithin(page), "daemon: no bar of a histogram is taller than its place");
        await checkWidths(page, "daemon");
        checkQuiet(page, "daemon");

        await load.stop();
        await daemon.stop("SIGKILL");
        await checkSoon(async () => await page.state() === "gone", "killed: the page notices");
        check((await page.textOf("#gone-text")).startsWith("No answer since "), "killed: it says since when");
        check(await page.locator("#class-rows tr").count() > 3, "killed: what was known stays");
        await daemon.start();
        load = new Load(daemon.port, { hot: ["after:restart"] });
        await checkSoon(async () => await page.state() === "live", "restarted: the page is live again by itself", 12);
        check((await page.textOf("#restarted-text")).startsWith("The daemon began anew at "), "restarted: it says so", await page.textOf("#restarted-text"));
        await checkSoon(async () => await page.locator("line.restart").count() >= 8, "restarted: every chart has the mark");
        check(await page.locator("#chart-operations .gap").count() >= 1, "restarted: the time away is marked");
        await checkSoon(async () => (await page.locator("#hot-key-rows").textContent()).includes("after:restart"), "restarted: it shows the new daemon's keys", SAMPLED_SECONDS);
        check(!(await page.title()).startsWith("owned"), "daemon: no key was run");
        checkQuiet(page, "restarted", (text) => /ERR_CONNECTION_(REFUSED|RESET)|ERR_EMPTY_RESPONSE/.test(text));
        await page.close();
    } finally {
        await load.stop();
        await daemon.stop();
    }
}

/** A memory that is too small: evictions, ages, waste, and the warning that says so. */
async function checkEvictions(browser, binary) {
    const daemon = new Daemon(binary, ["-m", "8", "-o", "admin_keys"]);
    await daemon.start();
    let load = null;
    try {
        const page = await openPage(browser, daemon.address);
        await checkSoon(async () => await page.state() === "live", "too small: the page goes live");
        checkEqual(await page.locator("#warnings li").count(), 0, "too small: nothing is warned of before");
        check((await page.textOf("#tile-evictions")).includes("0 since the start"), "too small: nothing was evicted before", await page.textOf("#tile-evictions"));
        load = new Load(daemon.port, { keys: 200000 });
        await checkSoon(async () => /[1-9]\S* since the start/.test(await page.textOf("#tile-evictions")), "too small: evictions are counted", 60);
        await checkSoon(async () => parseFloat(await page.textOf("#tile-evictions .number")) > 0, "too small: evictions have a rate");
        await checkSoon(async () => /oldest unused \d/.test(await page.textOf("#tile-evictions")), "too small: the oldest item has an age");
        check(/\d.* of it wasted/.test(await page.textOf("#tile-memory")), "too small: waste is shown", await page.textOf("#tile-memory"));
        await checkSoon(async () => (await page.textOf("#warnings")).includes("memory is short"), "too small: the warning is there");
        checkEqual(await page.locator("#warnings li").count(), 1, "too small: it is the only one");
        await checkSoon(async () => (await page.locator("#prefix-rows").textContent()).includes("(all others)"), "too small: prefixes are estimated");
        check(!/NaN|undefined|null|Infinity/.test(await page.locator("body").innerText()), "too small: no figure is a slip of the program");
        checkQuiet(page, "too small");
        await page.close();
    } finally {
        await load?.stop();
        await daemon.stop();
    }
}

// --- the run ------------------------------------------------------------------------------------------------------------------

const browser = await openBrowser();
try {
    if (options.screenshots) {
        await takeScreenshots(browser, options.server, options.screenshots);
    } else {
        checkUnits();
        await checkStandIn(browser);
        await checkHostile(browser);
        await checkOdd(browser);
        if (options.server) await checkDaemon(browser, options.server);
        if (options.server) await checkEvictions(browser, options.server);
    }
} catch (error) {
    check(false, "the run came to its end", error.stack);
} finally {
    await browser.close();
}
console.log(`${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed === 0 ? 0 : 1);
