// Numbers as people read them. Every function takes null for "not known" and gives a dash then.

const DASH = "–";
const THIN = "\u202f"; // A narrow blank that does not break the line.

const isKnown = (value) => typeof value === "number" && Number.isFinite(value);

/** Three digits that mean something: 9.41, 94.1, 941. */
function digits(value) {
    const size = Math.abs(value);
    if (size >= 99.95 || Number.isInteger(value)) return String(Math.round(value));
    return value.toFixed(size >= 9.995 ? 1 : 2).replace(/\.?0+$/, "");
}

function scaled(value, step, units) {
    let at = 0;
    while (Math.abs(value) >= step * 0.9995 && at < units.length - 1) {
        value /= step;
        at += 1;
    }
    return { number: digits(value), unit: units[at] };
}

const joined = ({ number, unit }) => (unit ? number + THIN + unit : number);

/** 812, 10.3 k, 4.5 M. A whole number below ten thousand stays as it is. */
function countParts(value) {
    if (!isKnown(value)) return { number: DASH, unit: "" };
    if (Number.isInteger(value) && Math.abs(value) < 10000) return { number: String(value), unit: "" };
    return scaled(value, 1000, ["", "k", "M", "G", "T", "P"]);
}
const count = (value) => joined(countParts(value));

/** 0, 0.4, 812, 10.3 k: a rate has no use for hundredths. */
function rateParts(value) {
    if (!isKnown(value)) return { number: DASH, unit: "" };
    return countParts(Math.abs(value) >= 10 ? Math.round(value) : Math.round(value * 10) / 10);
}
const rate = (value) => joined(rateParts(value));

function bytesParts(value) {
    return isKnown(value) ? scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]) : { number: DASH, unit: "" };
}
const bytes = (value) => joined(bytesParts(value));

/** Microseconds as 8 µs, 1.3 ms, 2.1 s. */
function latencyParts(value) {
    return isKnown(value) ? scaled(value, 1000, ["µs", "ms", "s"]) : { number: DASH, unit: "" };
}
const latency = (value) => joined(latencyParts(value));

/** A share of one as 98.1 %; never 100 % for less than all, nor 0 % for more than nothing. */
function percentParts(share) {
    if (!isKnown(share)) return { number: DASH, unit: "" };
    let value = Math.round(share * 1000) / 10;
    if (value >= 100 && share < 1) value = 99.9;
    if (value <= 0 && share > 0) return { number: "<" + THIN + "0.1", unit: "%" };
    const isWhole = share === 0 || share === 1;
    return { number: isWhole ? String(value) : value.toFixed(1), unit: "%" };
}
const percent = (share) => joined(percentParts(share));

/** A span: 42 s, 5 min 20 s, 3 h 12 min, 4 d 6 h. The smaller unit is left out where it is nothing. */
function span(seconds) {
    if (!isKnown(seconds)) return DASH;
    const whole = Math.max(0, Math.floor(seconds));
    const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
    const first = units.findIndex(([, size]) => whole >= size);
    if (first < 0) return `0${THIN}s`;
    const parts = [];
    let left = whole;
    for (const [name, size] of units.slice(first, first + 2)) {
        const times = Math.floor(left / size);
        left -= times * size;
        if (times > 0) parts.push(times + THIN + name);
    }
    return parts.join(" ");
}

/** 12:31:05 by this browser's clock and time zone. */
function clock(unixSeconds) {
    const date = new Date(unixSeconds * 1000);
    return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}
const clockShort = (unixSeconds) => clock(unixSeconds).slice(0, 5);

/** Two or three words: "1 item", "2 items". */
const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

/** A setting's value; long numbers get their blanks. */
function setting(name, value) {
    if (/^\d+$/.test(value) && /bytes|memory|item_size_max|chunk/.test(name) && Number(value) >= 1024) {
        return `${value} (${bytes(Number(value))})`;
    }
    return value === "" ? "(empty)" : value;
}
