// What needs no browser: numbers as people read them, rows of history put together, steps of axes, contrasts of colours.

import { readFileSync } from "node:fs";
import { check, checkEqual } from "./harness.mjs";

const PAGE = new URL("../../src/admin/page/", import.meta.url);
const read = (name) => readFileSync(new URL(name, PAGE), "utf8");

const names = "count, rate, bytes, latency, percent, span, setting, History, rangeOf, ticks, DECIMAL, BINARY, CLOCK";
const page = new Function(`"use strict"; ${["format.js", "dom.js", "history.js", "chart.js"].map(read).join("")} return { ${names} };`)();

/** Narrow blanks are written as blanks here. */
const same = (found, expected) => checkEqual(found.replaceAll("\u202f", " "), expected, `"${expected}" is written so`);

export function checkUnits() {
    checkNumbers();
    checkHistory();
    checkScales();
    checkContrast();
}

function checkNumbers() {
    same(page.count(0), "0");
    same(page.count(9999), "9999");
    same(page.count(10321), "10.3 k");
    same(page.count(999950), "1 M");
    same(page.rate(0.04), "0");
    same(page.rate(812.4), "812");
    same(page.bytes(1048576), "1 MiB");
    same(page.bytes(1023), "1023 B");
    same(page.latency(8.25), "8.25 µs");
    same(page.latency(1300), "1.3 ms");
    same(page.percent(0.98123), "98.1 %");
    same(page.percent(0.99999), "99.9 %");
    same(page.percent(0.00001), "< 0.1 %");
    same(page.percent(1), "100 %");
    same(page.span(59.9), "59 s");
    same(page.span(3600), "1 h");
    same(page.span(93784), "1 d 2 h");
    same(page.setting("maxbytes", "1073741824"), "1073741824 (1 GiB)");
    for (const form of [page.count, page.rate, page.bytes, page.latency, page.percent, page.span]) same(form(null), "–");
}

function checkHistory() {
    const columns = ["get_hits", "get_misses", "sets", "deletes", "others"];
    const part = (newest, rows, step = 1) => ({ step_seconds: step, newest, newest_unix: 1000 + newest * step, rows: Array.from({ length: rows }, () => [9, 1, 2, 1, 0]) });
    const document = (start, newest, rows) => ({ start_id: start, columns, seconds: part(newest, rows), minutes: part(null, 0, 60) });
    const history = new page.History();
    check(!history.take(document("a", 5, 1), false), "a part of the history is not taken before the whole");
    check(history.take(document("a", 5, 6), true), "the whole history is taken");
    check(history.take(document("a", 7, 2), false), "what came after is taken");
    check(history.take(document("a", 7, 2), false) && history.seconds.samples.length === 8, "what is there already is not taken twice");
    check(!history.take(document("a", 20, 3), false), "missing rows are noticed");
    check(!history.take(document("b", 8, 1), false), "another start is noticed");
    const wavering = document("a", 8, 1);
    wavering.seconds.newest_unix += 1;
    history.take(wavering, false);
    checkEqual(history.seconds.samples.at(-1).time, 1008, "a clock that wavers by a second leaves no gap");
    checkEqual(history.seconds.samples[0].hitRatio, 0.9, "the hit ratio of a row");
    checkEqual(history.seconds.samples[0].operations, 13, "the operations of a row");
    history.restarted(1012);
    const anew = document("b", 2, 3);
    anew.seconds.newest_unix = 1014;
    history.take(anew, true);
    const times = history.last(60).samples.map((sample) => sample.time);
    check(times.includes(1008) && times.at(-1) === 1014 && !times.includes(1010), "rows of the former start stay, with a gap behind them", times.join(" "));
    check(history.take({ ...document("c", null, 0) }, true), "a daemon without a row is no fault");
}

function checkScales() {
    const list = (range, scale, steps) => page.ticks(range, scale, steps, 120).join(" ");
    checkEqual(list({ low: 0, high: 45 }, "linear", page.DECIMAL), "0 20 40", "lines at round numbers");
    checkEqual(list({ low: 0, high: 3000 }, "linear", page.BINARY), "0 1024 2048", "lines at powers of two for bytes");
    checkEqual(list({ low: 0, high: 7000 }, "linear", page.CLOCK), "0 3600", "lines at hours for spans");
    checkEqual(list({ low: 4, high: 2000 }, "log", page.DECIMAL), "10 100 1000", "lines at powers of ten on a logarithmic scale");
    checkEqual(page.rangeOf([0.97, 0.99], "share", 1).low, 0.9, "a high hit ratio is looked at closely");
    checkEqual(page.rangeOf([], "linear", 10).high, 10, "an empty chart has a scale");
}

/** WCAG 2: the contrast of every colour of text with what it stands on, in both schemes. */
function checkContrast() {
    const css = read("dashboard.css");
    const [light, dark] = css.split("prefers-color-scheme: dark");
    const colours = (text) => Object.fromEntries([...text.matchAll(/--([a-z-]+): (#[0-9a-f]{6});/g)].map(([, name, value]) => [name, value]));
    const linear = (part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const luminance = (hex) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, at) => sum + weight * linear(parseInt(hex.slice(1 + at * 2, 3 + at * 2), 16) / 255), 0);
    const contrast = (one, other) => {
        const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    for (const [scheme, values] of [["light", colours(light)], ["dark", { ...colours(light), ...colours(dark) }]]) {
        for (const [text, ground] of [["ink", "page"], ["ink", "card"], ["soft", "page"], ["soft", "card"], ["soft", "track"], ["faint", "page"], ["faint", "card"],
            ["blue", "page"], ["critical", "critical-card"], ["warning", "warning-card"], ["critical", "page"]]) {
            const found = contrast(values[text], values[ground]);
            check(found >= 4.5, `${text} on ${ground} is legible, ${scheme}`, found.toFixed(2));
        }
        for (const tone of ["blue", "orange", "teal", "purple", "grey"]) {
            const found = contrast(values[tone], values.card);
            check(found >= 3, `${tone} stands out in charts, ${scheme}`, found.toFixed(2));
        }
    }
}
