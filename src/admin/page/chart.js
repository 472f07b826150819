// Lines over time, drawn as SVG at the size of their place. A chart is a <figure> with a caption, a legend that reads out the newest
// values or those under the cursor, and the picture. One cursor runs through all charts: pointing at one reads out all of them; with
// the keyboard, arrows move it, Home and End go to the ends, Escape puts it away.

const PLOT = { top: 12, right: 4, bottom: 20, left: 48 };

class Chart {
    /**
     * `series`: [{ key, label, tone, dash, isFilled }], from the bottom up when stacked. `form` writes a value. `scale`: "linear" from
     * nought, "log", or "share" of one, which begins where there is something to see. `steps`: the distances of the lines behind it.
     */
    constructor(figure, { title, hint = "", series, form, scale = "linear", steps = DECIMAL, isStacked = false, least = 1, absent = "Nothing yet" }) {
        Object.assign(this, { figure, title, series, form, scale, steps, isStacked, least, absent });
        this.picture = svg("svg", { class: "plot", tabindex: 0, role: "img", "aria-roledescription": "chart" });
        this.layers = {};
        for (const name of ["grid", "areas", "lines", "marks", "cursor"]) {
            this.layers[name] = svg("g", { class: name });
            this.picture.append(this.layers[name]);
        }
        const caption = element("figcaption", { class: "chart-head" });
        caption.append(element("h3", { text: title }), element("span", { class: "hint", text: hint }));
        this.values = series.map(() => element("span", { class: "value" }));
        const legend = element("ul", { class: "legend", "aria-label": `${title}, values` });
        series.forEach((one, at) => {
            const item = element("li");
            item.append(swatch(one), element("span", { class: "label", text: one.label }), this.values[at]);
            legend.append(item);
        });
        // Read by a screen reader when the cursor is moved by keys, and only then.
        this.spoken = element("p", { class: "unseen", "aria-live": "polite" });
        this.empty = element("p", { class: "absent", text: absent, hidden: "" });
        const place = element("div", { class: "place" });
        place.append(this.picture, this.empty);
        figure.classList.add("chart");
        figure.append(caption, legend, place, this.spoken);
        this.size = { width: 0, height: 0 };
        new ResizeObserver(([entry]) => {
            this.size = { width: Math.round(entry.contentRect.width), height: Math.round(entry.contentRect.height) };
            this.draw();
        }).observe(place);
    }

    /** What moves the cursor of all charts: `move(time)` with null to put it away. */
    follow(move) {
        const timeAt = (event) => {
            const box = this.picture.getBoundingClientRect();
            return this.timeAt(event.clientX - box.left);
        };
        this.picture.addEventListener("pointermove", (event) => move(timeAt(event)));
        this.picture.addEventListener("pointerdown", (event) => move(timeAt(event)));
        this.picture.addEventListener("pointerleave", () => move(null));
        this.picture.addEventListener("blur", () => move(null));
        this.picture.addEventListener("keydown", (event) => {
            const time = this.keyed(event);
            if (time === undefined) return;
            event.preventDefault();
            move(time);
            this.spoken.textContent = time === null ? "" : this.reading(this.sampleAt(time));
        });
    }

    keyed(event) {
        const samples = this.data?.samples ?? [];
        if (samples.length === 0) return undefined;
        const many = event.shiftKey || event.key.startsWith("Page") ? 10 : 1;
        const at = this.cursor === null || this.cursor === undefined ? samples.length - 1 : this.indexAt(this.cursor);
        switch (event.key) {
            case "ArrowLeft": case "PageDown": return samples[Math.max(0, at - many)].time;
            case "ArrowRight": case "PageUp": return samples[Math.min(samples.length - 1, at + many)].time;
            case "Home": return samples[0].time;
            case "End": return samples.at(-1).time;
            case "Escape": return null;
            default: return undefined;
        }
    }

    /** `data` as History.last gives it; `starts` are the times of restarts. */
    show(data, window, starts, cursor) {
        Object.assign(this, { data, window, starts, cursor });
        this.draw();
    }

    point(cursor) {
        this.cursor = cursor;
        this.drawCursor();
        this.readOut();
    }

    // --- places -----------------------------------------------------------------------------------------------------------

    get inner() {
        return { width: this.size.width - PLOT.left - PLOT.right, height: this.size.height - PLOT.top - PLOT.bottom };
    }

    x(time) {
        return PLOT.left + (1 - (this.data.end - time) / this.window) * this.inner.width;
    }

    timeAt(x) {
        if (!this.data?.end) return null;
        const time = this.data.end - (1 - (x - PLOT.left) / this.inner.width) * this.window;
        return Math.min(this.data.end, Math.max(this.data.end - this.window, time));
    }

    y(value) {
        const { low, high } = this.range;
        const share = this.scale === "log"
            ? (Math.log(Math.max(value, low)) - Math.log(low)) / (Math.log(high) - Math.log(low))
            : (value - low) / (high - low);
        return PLOT.top + (1 - Math.min(1, Math.max(0, share))) * this.inner.height;
    }

    indexAt(time) {
        const { samples } = this.data;
        let [low, high] = [0, samples.length - 1];
        while (low < high) {
            const middle = (low + high) >> 1;
            if (samples[middle].time < time) low = middle + 1; else high = middle;
        }
        return low > 0 && time - samples[low - 1].time < samples[low].time - time ? low - 1 : low;
    }

    sampleAt(time) {
        if (!this.data?.samples.length) return null;
        const sample = this.data.samples[this.indexAt(time)];
        return Math.abs(sample.time - time) <= 2 * this.data.step ? sample : null;
    }

    // --- drawing ----------------------------------------------------------------------------------------------------------

    draw() {
        if (!this.data || this.size.width < 40) return;
        const { width, height } = this.size;
        setAll(this.picture, { viewBox: `0 0 ${width} ${height}`, width, height });
        const values = this.valuesShown();
        this.empty.hidden = values.length > 0;
        this.range = rangeOf(values, this.scale, this.least);
        this.drawGrid();
        this.drawSeries();
        this.drawMarks();
        this.drawCursor();
        this.readOut();
        this.picture.setAttribute("aria-label", this.summary());
    }

    valuesShown() {
        const values = [];
        for (const sample of this.data.samples) {
            if (this.isStacked) {
                if (isKnown(sample[this.series[0].key])) values.push(this.series.reduce((sum, one) => sum + sample[one.key], 0));
            } else {
                for (const one of this.series) if (isKnown(sample[one.key])) values.push(sample[one.key]);
            }
        }
        return values;
    }

    drawGrid() {
        const nodes = [];
        const { width } = this.size;
        const bottom = this.size.height - PLOT.bottom;
        for (const value of ticks(this.range, this.scale, this.steps, this.inner.height)) {
            const y = Math.round(this.y(value)) + 0.5;
            nodes.push(svg("line", { x1: PLOT.left, x2: width, y1: y, y2: y }));
            nodes.push(svg("text", { x: PLOT.left - 8, y: y + 3.5, class: "tick end", text: this.scale === "share" ? wholePercent(value) : this.form(value) }));
        }
        if (this.data.end) {
            for (const time of timeTicks(this.data.end, this.window, this.inner.width)) {
                const x = this.x(time);
                if (x < PLOT.left || x > width - 18) continue;
                const label = this.window <= 300 ? clock(time) : clockShort(time);
                nodes.push(svg("line", { x1: x, x2: x, y1: bottom, y2: bottom + 4 }));
                nodes.push(svg("text", { x, y: bottom + 16, class: "tick middle", text: label }));
            }
        }
        this.layers.grid.replaceChildren(...nodes);
    }

    drawSeries() {
        const areas = [];
        const lines = [];
        const { samples, step } = this.data;
        const base = samples.map(() => 0);
        for (const one of this.series) {
            const top = samples.map((sample, at) => (isKnown(sample[one.key]) ? sample[one.key] + (this.isStacked ? base[at] : 0) : null));
            for (const run of runs(samples, top, step)) {
                const upper = run.map((at) => `${this.x(samples[at].time).toFixed(1)},${this.y(top[at]).toFixed(1)}`);
                const line = upper.length === 1 ? `M${upper[0]}h0.5` : `M${upper.join("L")}`;
                if (this.isStacked || one.isFilled) {
                    const under = run.map((at) => `${this.x(samples[at].time).toFixed(1)},${this.y(this.isStacked ? base[at] : this.range.low).toFixed(1)}`);
                    areas.push(svg("path", { class: `area tone-${one.tone}`, d: `M${upper.join("L")}L${under.reverse().join("L")}Z` }));
                }
                lines.push(svg("path", { class: `line tone-${one.tone} dash-${one.dash ?? "none"}`, d: line }));
            }
            if (this.isStacked) top.forEach((value, at) => { base[at] = value ?? base[at]; });
        }
        this.layers.areas.replaceChildren(...areas);
        this.layers.lines.replaceChildren(...lines.reverse());
    }

    /** Where the daemon began anew, and where nothing is known. */
    drawMarks() {
        const nodes = [];
        const bottom = this.size.height - PLOT.bottom;
        const { samples, step, end } = this.data;
        samples.forEach((sample, at) => {
            const before = samples[at - 1];
            if (!before || sample.time - before.time <= 1.5 * step) return;
            const x = Math.max(PLOT.left, this.x(before.time));
            nodes.push(svg("rect", { class: "gap", x, y: PLOT.top, width: Math.max(0, this.x(sample.time) - x), height: bottom - PLOT.top }));
        });
        for (const start of this.starts) {
            if (start < end - this.window || start > end) continue;
            const x = Math.round(this.x(start)) + 0.5;
            const isRight = x > this.size.width - 60;
            nodes.push(svg("line", { class: "restart", x1: x, x2: x, y1: 0, y2: bottom }));
            nodes.push(svg("text", { class: `restart ${isRight ? "end" : ""}`, x: x + (isRight ? -4 : 4), y: 9, text: "restart" }));
        }
        this.layers.marks.replaceChildren(...nodes);
    }

    drawCursor() {
        const nodes = [];
        if (isKnown(this.cursor) && this.data?.end && this.size.width >= 40) {
            const sample = this.sampleAt(this.cursor);
            const x = Math.round(this.x(sample ? sample.time : this.cursor)) + 0.5;
            const bottom = this.size.height - PLOT.bottom;
            nodes.push(svg("line", { x1: x, x2: x, y1: 0, y2: bottom + 4 }));
            let base = 0;
            for (const one of sample ? this.series : []) {
                if (!isKnown(sample[one.key])) continue;
                const value = sample[one.key] + base;
                if (this.isStacked) base = value;
                nodes.push(svg("circle", { class: `tone-${one.tone}`, cx: x, cy: this.y(value), r: 3.5 }));
            }
            const middle = Math.min(this.size.width - 28, Math.max(PLOT.left + 28, x));
            nodes.push(svg("rect", { class: "when", x: middle - 28, y: bottom + 3, width: 56, height: 16, rx: 3 }));
            nodes.push(svg("text", { class: "tick middle", x: middle, y: bottom + 15, text: clock(sample ? sample.time : this.cursor) }));
        }
        this.layers.cursor.replaceChildren(...nodes);
    }

    /** The legend's values: at the cursor, or the newest. */
    readOut() {
        const sample = isKnown(this.cursor) ? this.sampleAt(this.cursor) : this.data?.samples.at(-1);
        this.figure.classList.toggle("is-pointed", isKnown(this.cursor));
        this.series.forEach((one, at) => setText(this.values[at], this.form(sample ? sample[one.key] : null)));
    }

    reading(sample) {
        if (!sample) return "no data";
        return `${clock(sample.time)}: ` + this.series.map((one) => `${one.label} ${this.form(sample[one.key])}`).join(", ");
    }

    summary() {
        const newest = this.data.samples.at(-1);
        const restarts = this.starts.filter((start) => start >= this.data.end - this.window).length;
        return `${this.title}, the last ${span(this.window)}. ` +
            (newest ? `Newest, ${this.reading(newest)}. ` : `${this.absent}. `) +
            (restarts ? `${plural(restarts, "restart")}. ` : "") + "Arrow keys read out values.";
    }
}

// --- scales -------------------------------------------------------------------------------------------------------------------

const wholePercent = (share) => `${Math.round(share * 100)}${THIN}%`;

function rangeOf(values, scale, least) {
    let low = Infinity;
    let high = -Infinity;
    for (const value of values) {
        if (value < low) low = value;
        if (value > high) high = value;
    }
    if (values.length === 0) [low, high] = scale === "log" ? [1, 1000] : scale === "share" ? [0, 1] : [0, 0];
    if (scale === "log") {
        const bottom = 2 ** Math.floor(Math.log2(Math.max(0.25, low) * 0.99));
        return { low: bottom, high: Math.max(bottom * 8, high * 1.3) };
    }
    // A share says little from nought to one when it moves between 97 and 98 per cent.
    if (scale === "share") return { low: low > 0.9 ? 0.9 : low > 0.5 ? 0.5 : 0, high: 1 };
    return { low: 0, high: Math.max(least, high * 1.12) };
}

/** Steps of 1, 2, 5 times a power of ten; of two, for bytes; and such as clocks have. */
const DECIMAL = (least) => {
    const power = 10 ** Math.floor(Math.log10(least));
    return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= least * 0.999);
};
const BINARY = (least) => 2 ** Math.ceil(Math.log2(least));
const CLOCK = (least) => [1, 5, 15, 30, 60, 120, 300, 900, 1800, 3600, 7200, 21600, 43200, 86400].find((step) => step >= least) ?? 86400 * DECIMAL(least / 86400);

function ticks({ low, high }, scale, steps, height) {
    const room = Math.max(3, Math.floor(height / 38));
    if (scale === "log") {
        const found = [];
        for (let power = -1; 10 ** power <= high; power += 1) if (10 ** power >= low * 0.999) found.push(10 ** power);
        return found;
    }
    if (scale === "share") return [low, (low + high) / 2, high];
    const step = steps((high - low) / room);
    const found = [];
    for (let at = 0; low + at * step <= high; at += 1) found.push(Number((low + at * step).toPrecision(12)));
    return found;
}

/** Round times, as a clock has them, in the zone of the browser. */
function timeTicks(end, window, width) {
    const room = Math.max(2, Math.floor(width / 90));
    const steps = [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200];
    const step = steps.find((candidate) => window / candidate <= room) ?? 86400;
    const zone = new Date(end * 1000).getTimezoneOffset() * 60;
    const found = [];
    for (let time = Math.floor((end - zone) / step) * step + zone; time > end - window; time -= step) found.push(time);
    return found;
}

/** Runs of neighbours that have a value. */
function runs(samples, values, step) {
    const found = [];
    let run = [];
    samples.forEach((sample, at) => {
        const isNeighbour = run.length > 0 && sample.time - samples[run.at(-1)].time <= 1.5 * step;
        if (values[at] === null || !isNeighbour) {
            if (run.length > 0) found.push(run);
            run = [];
        }
        if (values[at] !== null) run.push(at);
    });
    if (run.length > 0) found.push(run);
    return found;
}

// --- a small line without axes ------------------------------------------------------------------------------------------------

class Spark {
    constructor(place, tone, scale = "linear") {
        Object.assign(this, { scale });
        this.picture = svg("svg", { class: `spark tone-${tone}`, viewBox: "0 0 120 32", preserveAspectRatio: "none", "aria-hidden": "true" });
        place.append(this.picture);
    }

    /** Lines of `key` over the last `window` seconds before `end`. */
    show({ samples, step, end }, key, window) {
        const values = samples.map((sample) => (isKnown(sample[key]) ? sample[key] : null));
        const known = values.filter(isKnown);
        const high = Math.max(...known, 0);
        let low = this.scale === "linear" ? 0 : Math.min(...known, high);
        if (this.scale === "share") low = Math.max(0, low - Math.max(0.02, (1 - low) * 0.5));
        const y = (value) => (30 - ((value - low) / (high - low || 1)) * 27).toFixed(1);
        const x = (time) => ((1 - (end - time) / window) * 120).toFixed(1);
        const nodes = [];
        for (const run of runs(samples, values, step)) {
            const points = run.map((at) => `${x(samples[at].time)},${y(values[at])}`);
            const [first, last] = [x(samples[run[0]].time), x(samples[run.at(-1)].time)];
            nodes.push(svg("path", { class: "under", d: `M${first},32L${points.join("L")}L${last},32Z` }));
            nodes.push(svg("path", { class: "over", d: `M${points.join("L")}` }));
        }
        this.picture.replaceChildren(...nodes);
    }
}
