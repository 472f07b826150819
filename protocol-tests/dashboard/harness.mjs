// Checks that are counted, a browser, a daemon and its load. Every process and every port goes away with the run.

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import net from "node:net";
import { join } from "node:path";
import { file, POLICY, script } from "./standin.mjs";

const { chromium } = createRequire(join(process.env.DASHBOARD_CACHE, "package.json"))("playwright-core");

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// --- checks -------------------------------------------------------------------------------------------------------------------

export const counts = { passed: 0, failed: 0 };

export function check(isTrue, text, detail = "") {
    counts[isTrue ? "passed" : "failed"] += 1;
    console.log(isTrue ? `ok - ${text}` : `not ok - ${text}${detail === "" ? "" : `: ${detail}`}`);
}

export function checkEqual(found, expected, text) {
    check(Object.is(found, expected), text, `${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
}

/** Waits until `question` gives something true; the check fails after `seconds`. */
export async function checkSoon(question, text, seconds = 10) {
    let last;
    for (const end = Date.now() + seconds * 1000; Date.now() < end; await pause(50)) {
        try {
            last = await question();
            if (last) return check(true, text);
        } catch (error) {
            last = error.message;
        }
    }
    check(false, text, `not within ${seconds} s, last: ${last}`);
}

// --- the browser --------------------------------------------------------------------------------------------------------------

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"];

export async function openBrowser() {
    return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
}

/** A page that keeps what went wrong on it, and where it asked. */
export async function openPage(browser, address, { width = 1440, height = 900, colorScheme = "light" } = {}) {
    const page = await browser.newPage({ viewport: { width, height }, colorScheme, reducedMotion: "reduce", locale: "en-GB" });
    page.troubles = [];
    page.foreign = [];
    const origin = new URL(address).origin;
    page.on("console", (message) => { if (["error", "warning"].includes(message.type())) page.troubles.push(message.text()); });
    page.on("pageerror", (error) => page.troubles.push(error.stack));
    page.on("request", (request) => { if (!request.url().startsWith("data:") && new URL(request.url()).origin !== origin) page.foreign.push(request.url()); });
    // While working on the page: its files as they are now, and not as they were when the daemon was built.
    if (process.env.DASHBOARD_SOURCES) {
        await page.route("**/dashboard.css", (route) => route.fulfill({ contentType: "text/css", body: file("dashboard.css") }));
        await page.route("**/dashboard.js", (route) => route.fulfill({ contentType: "text/javascript", body: script() }));
        await page.route(address, (route) => route.fulfill({ contentType: "text/html", headers: { "Content-Security-Policy": POLICY }, body: file("index.html") }));
    }
    page.answer = await page.goto(address);
    page.textOf = (selector) => page.locator(selector).first().innerText();
    page.state = () => page.evaluate(() => document.body.dataset.state);
    /** The number of pixels by which the page is too wide. */
    page.overflow = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    return page;
}

// --- the daemon ---------------------------------------------------------------------------------------------------------------

function freePort() {
    return new Promise((resolve, reject) => {
        const probe = net.createServer();
        probe.on("error", reject);
        probe.listen(0, "127.0.0.1", () => {
            const { port } = probe.address();
            probe.close(() => resolve(port));
        });
    });
}

export class Daemon {
    constructor(binary, options = []) {
        Object.assign(this, { binary, options, process: null });
    }

    async start() {
        this.port ??= await freePort();
        this.adminPort ??= await freePort();
        const words = ["-l", "127.0.0.1", "-p", String(this.port), "-U", "0", "-t", "2", "-o", `admin_listen=127.0.0.1:${this.adminPort}`, ...this.options];
        if (process.getuid() === 0) words.push("-u", "root");
        this.process = spawn(this.binary, words, { stdio: ["ignore", "inherit", "inherit"] });
        this.ended = new Promise((resolve) => this.process.on("exit", resolve));
        this.address = `http://127.0.0.1:${this.adminPort}/`;
        for (const end = Date.now() + 10000; Date.now() < end; await pause(50)) {
            const answer = await fetch(`${this.address}readyz`).catch(() => null);
            if (answer?.ok) return;
            if (this.process.exitCode !== null) break;
        }
        throw new Error(`${this.binary} ${words.join(" ")} does not start`);
    }

    async stop(signal = "SIGTERM") {
        if (this.process === null) return;
        this.process.kill(signal);
        await this.ended;
        this.process = null;
    }
}

/**
 * Gets and sets at a steady rate over a few connections: keys by a power law, value sizes from 40 bytes to 8 KiB, a set after each
 * miss. `hot` are keys that are asked for in every batch. Connects again by itself.
 */
export class Load {
    constructor(port, { keys = 20000, hot = [], batch = 60, everyMs = 20, connections = 4 } = {}) {
        Object.assign(this, { port, keys, hot, batch, everyMs, isOver: false, seed: 7 });
        this.running = Array.from({ length: connections }, () => this.run());
    }

    random() {
        this.seed = (Math.imul(this.seed, 1664525) + 1013904223) >>> 0;
        return this.seed / 2 ** 32;
    }

    key() {
        const rank = Math.floor(this.keys ** this.random()) - 1;
        return `${["user", "session", "feed", "product"][rank % 4]}:${rank}`;
    }

    set(key) {
        const size = Math.floor(40 * 200 ** (this.random() ** 2));
        const lifetime = [0, 60, 300, 3600, 86400][Math.floor(this.random() * 5)];
        return `set ${key} 0 ${lifetime} ${size} noreply\r\n${"v".repeat(size)}\r\n`;
    }

    async run() {
        while (!this.isOver) {
            await this.connection().catch(() => {});
            await pause(200);
        }
    }

    async connection() {
        const socket = net.connect(this.port, "127.0.0.1");
        const broken = new Promise((_, reject) => {
            socket.on("error", reject);
            socket.on("close", () => reject(new Error("closed")));
        });
        broken.catch(() => {});
        let text = "";
        let done = () => {};
        socket.setEncoding("latin1");
        socket.on("data", (part) => {
            text += part;
            if (text.includes("MN\r\n")) done();
        });
        try {
            while (!this.isOver) {
                const asked = [...this.hot, ...Array.from({ length: this.batch }, () => this.key())];
                const answered = new Promise((resolve) => { done = resolve; });
                text = "";
                socket.write(`${asked.map((key) => `get ${key}\r\n`).join("")}mn\r\n`);
                await Promise.race([answered, broken]);
                const missed = asked.filter((key) => !text.includes(`VALUE ${key} `));
                const fresh = this.random() < 0.5 ? [this.key()] : [];
                socket.write([...missed, ...fresh].map((key) => this.set(key)).join(""));
                await Promise.race([pause(this.everyMs), broken]);
            }
        } finally {
            socket.destroy();
        }
    }

    async stop() {
        this.isOver = true;
        await Promise.all(this.running);
    }
}

