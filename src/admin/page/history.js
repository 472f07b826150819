// What happened until now: rows of the daemon's history by time. Rows of a former start stay, and a mark says where the new one
// begins; between rows that are not neighbours there is a gap, and nothing is drawn across it.

const SECONDS_KEPT = 1200;
const MINUTES_KEPT = 1500;

class History {
    constructor() {
        this.startId = null;
        this.columns = [];
        this.newest = null;
        this.seconds = { step: 1, samples: [], startId: null, number: -1, base: null };
        this.minutes = { step: 60, samples: [], startId: null, number: -1, base: null };
        this.starts = []; // Times at which the daemon was seen to have begun anew.
    }

    /** Takes /history.json, whole or what came after `newest`. False if rows are missing in between: ask for all of it. */
    take(document, isWhole) {
        const rows = document.seconds.rows;
        const isOther = document.start_id !== this.startId;
        const isSame = this.columns.length > 0;
        const missed = this.newest === null ? null : document.seconds.newest - this.newest;
        if (!isWhole && (isOther || !isSame || (missed !== null && missed > rows.length))) return false;
        this.columns = document.columns;
        this.startId = document.start_id;
        this.newest = document.seconds.newest;
        add(this.seconds, document.seconds, document.columns, document.start_id, SECONDS_KEPT);
        if (isWhole) add(this.minutes, document.minutes, document.columns, document.start_id, MINUTES_KEPT);
        return true;
    }

    /** Notes that the daemon began anew at `time`; its row numbers begin at 0. */
    restarted(time) {
        this.starts = [...this.starts, time].slice(-50);
        this.newest = null;
    }

    /** The samples of the last `window` seconds and the time they end at. */
    last(window) {
        const series = window > 600 ? this.minutes : this.seconds;
        const newest = this.seconds.samples.at(-1) ?? series.samples.at(-1);
        if (!newest) return { samples: [], step: series.step, end: null };
        const from = newest.time - window - series.step;
        let first = series.samples.length;
        while (first > 0 && series.samples[first - 1].time >= from) first -= 1;
        return { samples: series.samples.slice(first), step: series.step, end: newest.time };
    }
}

/**
 * Appends the rows that are newer than what is there. A row's time is its number's: what a clock says of each row wavers by a
 * second, and lines would have gaps. Where the two come apart (the machine slept, its clock was set) the clock counts.
 */
function add(series, part, columns, startId, kept) {
    const { step_seconds: step, newest, newest_unix: newestTime, rows } = part;
    series.step = step;
    if (newest === null) return;
    if (series.startId !== startId) Object.assign(series, { startId, number: -1, base: null });
    const base = newestTime - newest * step;
    if (series.base === null || Math.abs(series.base - base) > 2 * step) series.base = base;
    rows.forEach((row, at) => {
        const number = newest - (rows.length - 1 - at);
        const time = series.base + number * step;
        const isNew = number > series.number && time > (series.samples.at(-1)?.time ?? 0);
        if (isNew) series.samples.push(sampleOf(row, columns, time, step));
    });
    series.number = Math.max(series.number, newest);
    if (series.samples.length > kept) series.samples.splice(0, series.samples.length - kept);
}

/** A row with names, and what follows from it: rates per second, the hit ratio. */
function sampleOf(row, columns, time, step) {
    const at = {};
    columns.forEach((name, index) => { at[name] = row[index]; });
    const perSecond = (value) => (isKnown(value) ? value / step : null);
    const reads = at.get_hits + at.get_misses;
    return {
        time,
        hits: perSecond(at.get_hits),
        misses: perSecond(at.get_misses),
        writes: perSecond(at.sets + at.deletes),
        others: perSecond(at.others),
        operations: perSecond(reads + at.sets + at.deletes + at.others),
        hitRatio: reads > 0 ? at.get_hits / reads : null,
        evictions: perSecond(at.evictions),
        oldest: at.oldest_seconds,
        connections: at.connections,
        received: perSecond(at.read_bytes),
        sent: perSecond(at.written_bytes),
        cores: isKnown(at.processor_us) ? at.processor_us / 1e6 / step : null,
        items: at.items,
        itemsBytes: at.items_bytes,
        pagesBytes: at.pages_bytes,
        residentBytes: at.resident_bytes,
        readP50: at.read_p50_us,
        readP99: at.read_p99_us,
        readP999: at.read_p999_us,
        writeP50: at.write_p50_us,
        writeP99: at.write_p99_us,
        writeP999: at.write_p999_us,
    };
}
