"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const text = (cell) => cell.textContent.trim();
  const remember = (address) => {
    try {
      history.replaceState(null, "", address);
    } catch {
      // A browser that keeps the addresses of files as they are: nothing else depends on it.
    }
  };
  const order = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  // Sorting: a button in every heading; cells without a number stay below in both directions.
  const key = (row, i) => {
    const cell = row.cells[i];
    const said = cell.dataset.v ?? text(cell);
    return said !== "" && isFinite(said) ? Number(said) : text(cell);
  };
  const before = (a, b, way) => {
    const numbers = [a, b].map((one) => typeof one === "number");
    if (numbers[0] !== numbers[1]) return numbers[0] ? -1 : 1;
    return way * (numbers[0] ? a - b : order.compare(a, b));
  };
  const sort = (table, heading, again = false) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [key(row, heading.cellIndex), row]);
    const numeric = rows.some(([one]) => typeof one === "number");
    const now = heading.getAttribute("aria-sort");
    const down = now ? (now === "descending") === again : numeric;
    rows.sort((a, b) => before(a[0], b[0], down ? -1 : 1));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table.data")) {
    for (const heading of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sort(table, heading));
    }
  }

  // Maps: one class out of many.
  for (const select of document.querySelectorAll("select[data-map]")) {
    const map = find(select.dataset.map);
    const groups = [...map.querySelectorAll("g")];
    select.parentElement.hidden = false;
    select.addEventListener("change", () => {
      map.classList.toggle("only", select.value !== "");
      groups.forEach((group, i) => group.classList.toggle("on", String(i) === select.value));
    });
  }

  // Filtering: every word must stand in a row; the state is kept in the address.
  const filters = find("filters");
  if (filters) {
    const [words, method, measured] = ["words", "method", "measured"].map(find);
    const rows = [...document.querySelectorAll("table.data > tbody > tr")];
    const said = rows.map((row) => text(row).toLowerCase());
    const apply = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      rows.forEach((row, i) => {
        row.hidden =
          (method.value !== "" && row.dataset.m !== method.value) ||
          (measured.checked && !("n" in row.dataset)) ||
          !wanted.every((word) => said[i].includes(word));
        count += row.hidden ? 0 : 1;
      });
      find("shown").textContent = `${count} of ${rows.length} rows`;
      const state = new URLSearchParams();
      if (words.value) state.set("q", words.value);
      if (method.value) state.set("method", method.value);
      if (measured.checked) state.set("measured", "1");
      remember(`${state.size ? `?${state}` : location.pathname}${location.hash}`);
    };
    const asked = new URLSearchParams(location.search);
    words.value = asked.get("q") ?? "";
    method.value = asked.get("method") ?? "";
    if (method.selectedIndex < 0) method.value = "";
    measured.checked = asked.has("measured");
    let timer = 0;
    words.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(apply, 80);
    });
    filters.addEventListener("change", apply);
    filters.addEventListener("submit", (event) => {
      event.preventDefault();
      apply();
    });
    apply();
  }

  // Comparing: two models out of the data of the page, named in the address.
  const data = find("data");
  if (data) {
    const { models, columns } = JSON.parse(data.textContent);
    const [a, b, both] = ["a", "b", "both"].map(find);
    for (const select of [a, b]) models.forEach((one, i) => select.add(new Option(one.name, i)));
    const element = (name, said, href) => {
      const made = document.createElement(name);
      const inner = href ? made.appendChild(document.createElement("a")) : made;
      if (href) inner.href = href;
      inner.textContent = said;
      return made;
    };
    const line = (body, cells) => {
      const row = body.insertRow();
      cells[0].scope = "row";
      row.append(...cells);
    };
    const number = (one) => {
      const made = element("td", one?.t ?? "–", one?.h);
      made.className = "num";
      if (one?.v !== undefined) made.dataset.v = one.v;
      return made;
    };
    const bothKnown = (one, other) => one?.v !== undefined && other?.v !== undefined;
    const comparable = (one, other) => bothKnown(one, other) && one.r !== "" && one.r === other.r;
    const difference = (one, other, column) => {
      const known = comparable(one, other);
      const value = known ? other.v - one.v : 0;
      const digits = value.toFixed(column.digits).replace("-", "−");
      const apart = bothKnown(one, other) ? "not alike" : ""; // another rule or other data, as `zoo compare` says
      const said = known ? (value > 0 ? `+${digits}` : digits) : apart;
      const made = element("td", said);
      const rounded = known ? Number(value.toFixed(column.digits)) : 0;
      const good = rounded * (column.better === "lower" ? -1 : 1);
      made.className = `num${column.better && good ? (good > 0 ? " up" : " down") : ""}`;
      if (known) made.dataset.v = value;
      return [made, good];
    };
    const show = () => {
      const [one, other] = [models[a.value], models[b.value]];
      if (!one || !other) return;
      for (const [ids, model] of [[["ha", "sa"], one], [["hb", "sb"], other]]) {
        for (const id of ids) (find(id).querySelector("button") ?? find(id)).textContent = model.name;
      }
      const body = find("compared").tBodies[0];
      body.replaceChildren();
      let [better, worse, count, apart] = [0, 0, 0, 0];
      columns.forEach((column, i) => {
        const [x, y] = [one.cells[i], other.cells[i]];
        const known = comparable(x, y);
        if (both.checked ? !bothKnown(x, y) : !x && !y) return;
        const [cell, good] = difference(x, y, column);
        count += known ? 1 : 0;
        apart += bothKnown(x, y) && !known ? 1 : 0;
        better += known && column.better && good > 0 ? 1 : 0;
        worse += known && column.better && good < 0 ? 1 : 0;
        line(body, [element("th", column.where), element("td", column.name), number(x), number(y), cell]);
      });
      const rest = apart ? ` ${apart} were not measured alike; zoo compare says why.` : "";
      find("said").textContent =
        `${count} numbers in common: the second model is better in ${better}, worse in ${worse}.${rest}`;
      const settings = find("differing").tBodies[0];
      settings.replaceChildren();
      for (const name of [...new Set([...Object.keys(one.set), ...Object.keys(other.set)])].sort()) {
        const [x, y] = [one.set[name] ?? "–", other.set[name] ?? "–"];
        if (x !== y) line(settings, [element("th", name), element("td", x), element("td", y)]);
      }
      for (const heading of document.querySelectorAll("th[aria-sort]")) {
        sort(heading.closest("table"), heading, true); // rows of another pair keep the order that was asked for
      }
      const state = new URLSearchParams({ a: one.key, b: other.key });
      remember(`#${state}`);
    };
    const start = () => {
      const asked = new URLSearchParams(location.hash.slice(1));
      const at = (name, other) => {
        const found = models.findIndex((one) => one.key === asked.get(name));
        return found < 0 ? other : found;
      };
      a.value = at("a", 0);
      b.value = at("b", models.length > 1 && a.value === "1" ? 0 : Math.min(1, models.length - 1));
      show();
    };
    addEventListener("hashchange", start);
    find("pair").addEventListener("change", show);
    start();
  }
})();
