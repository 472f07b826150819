// Making and changing elements. What a client or the daemon says becomes a text node and never markup: nothing here parses HTML.

const byId = (id) => document.getElementById(id);

function setAll(node, attributes) {
    for (const [name, value] of Object.entries(attributes)) {
        if (name === "text") node.textContent = value;
        else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
    }
    return node;
}

const element = (tag, attributes = {}, ...children) => {
    const node = setAll(document.createElement(tag), attributes);
    node.append(...children);
    return node;
};
const svg = (tag, attributes = {}) => setAll(document.createElementNS(SVG_NAMESPACE, tag), attributes);

/** Leaves a text alone that has not changed, so that a selection lives on. */
function setText(node, text) {
    if (node.textContent !== text) node.textContent = text;
}

/** A figure with its unit in smaller type. */
function setFigure(node, { number, unit }) {
    const [large, small] = node.children.length === 2 ? node.children : [element("span", { class: "number" }), element("span", { class: "unit" })];
    if (node.children.length !== 2) node.replaceChildren(large, small);
    setText(large, number);
    setText(small, unit ? THIN + unit : "");
}

/** The sample of a line in a legend: its colour and its dashes, so that colour is not all there is. */
function swatch({ tone, dash, isBlock }) {
    const picture = svg("svg", { class: "swatch", viewBox: "0 0 18 10", "aria-hidden": "true" });
    picture.append(isBlock
        ? svg("rect", { class: `block tone-${tone}`, x: 2, y: 0, width: 12, height: 10, rx: 2 })
        : svg("path", { class: `line tone-${tone} dash-${dash ?? "none"}`, d: "M1,5H17" }));
    return picture;
}

/**
 * Makes the rows of `body` those of `list`, in order, by key: a row that stays is changed and not replaced. `make` gives a row with a
 * property `update`, which gets the entry, its place, and `scale`, what all rows are measured by. A row outlives the call that made it,
 * so `make` must not look at anything of this moment.
 */
function keepRows(body, list, keyOf, make, scale) {
    const known = body.rowsByKey ?? new Map();
    const next = new Map();
    list.forEach((entry, at) => {
        const key = keyOf(entry);
        const row = known.get(key) ?? make();
        row.update(entry, at, scale);
        next.set(key, row);
        if (body.children[at] !== row) body.insertBefore(row, body.children[at] ?? null);
    });
    while (body.children.length > list.length) body.lastElementChild.remove();
    body.rowsByKey = next;
}

/** A row of a table; `cells` are [{ heading, class, isHead }]. Roles are given, since narrow screens lay rows out as blocks. */
function tableRow(cells, fill) {
    const nodes = cells.map(({ heading, kind = "", isHead = false }) => element(isHead ? "th" : "td", {
        class: kind, role: isHead ? "rowheader" : "cell", "data-heading": heading, ...(isHead ? { scope: "row" } : {}),
    }));
    const row = element("tr", { role: "row" }, ...nodes);
    row.update = (entry, at, scale) => fill(nodes, entry, scale);
    return row;
}

/** A bar of parts: `parts` are [{ tone, share }], `share` of the whole width. */
function bar(tones) {
    const node = element("span", { class: "bar", "aria-hidden": "true" });
    const parts = tones.map((tone) => node.appendChild(element("span", { class: `part fill-${tone}` })));
    node.show = (shares) => shares.forEach((share, at) => {
        parts[at].style.width = `${(Math.min(1, Math.max(0, share || 0)) * 100).toFixed(2)}%`;
    });
    return node;
}

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";
