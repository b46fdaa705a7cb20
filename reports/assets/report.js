(() => {
  "use strict";
  const root = document.documentElement;
  const one = (query, from = document) => from.querySelector(query);
  const all = (query, from = document) => [...from.querySelectorAll(query)];
  const missing = "–";

  // theme: nothing is stored, since storage throws in sandboxed frames
  const toggle = one("#theme");
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // linked selection
  let selected = null;
  const address = (hash) => {
    try {
      history.replaceState(null, "", hash || location.pathname + location.search);
    } catch {
      // a sandboxed frame has no history of its own
    }
  };
  const mark = (trial, on) => {
    for (const element of all(`[data-trial="${trial}"]`)) {
      element.classList.toggle("on", on);
      const button = element.tagName === "TR" && one("button", element);
      if (button) button.setAttribute("aria-pressed", String(on));
    }
  };
  // what a trial is, below the chart in which it was chosen: parameters, curve, way to its outputs
  const picked = document.createElement("div");
  picked.className = "picked";
  picked.setAttribute("role", "status");
  const chart = one('figure[data-chart="cost-quality"]');
  if (chart) chart.after(picked);
  const make = (tag, text, namespace) => {
    const element = namespace
      ? document.createElementNS(namespace, tag)
      : document.createElement(tag);
    if (text) element.textContent = text;
    return element;
  };
  const pick = (trial) => {
    picked.replaceChildren();
    if (trial === null) return;
    const facts = make("dl");
    for (const [head, text] of described(trial)) {
      const fact = make("div");
      fact.append(make("dt", head), make("dd", text));
      facts.append(fact);
    }
    picked.append(facts);
    const lines = all(`[data-chart="learning-curves"] svg [data-trial="${trial}"]`);
    if (lines.length) {
      const svg = make("svg", "", "http://www.w3.org/2000/svg");
      svg.setAttribute("class", "chart");
      svg.setAttribute("role", "img");
      svg.setAttribute("aria-label", `validation loss of trial ${trial}`);
      svg.append(...lines.map((line) => line.cloneNode(true)));
      picked.append(svg);
      const box = svg.getBBox();
      svg.setAttribute("viewBox", `${box.x - 8} ${box.y - 8} ${box.width + 16} ${box.height + 16}`);
    }
    if (all("#samples-open th").some((head) => `${head.textContent} `.includes(`trial ${trial} `))) {
      const link = make("a", "its outputs");
      link.href = "#samples";
      picked.append(link);
    }
  };
  const select = (trial, scroll) => {
    if (selected !== null) mark(selected, false);
    selected = trial === selected ? null : trial;
    root.classList.toggle("selecting", selected !== null);
    pick(selected);
    if (selected === null) return address("");
    mark(selected, true);
    address(`#trial-${selected}`);
    const row = document.getElementById(`trial-${selected}`);
    if (scroll && row && row.checkVisibility()) row.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("click", (event) => {
    if (event.target.closest("summary, a, th button, .code button, input, select, label")) return;
    const element = event.target.closest("[data-trial]") || near(event);
    if (element) select(element.dataset.trial, element.closest("svg") !== null);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && selected !== null) select(selected);
  });

  // tooltip: what the trial's row says
  const tip = one("#tip");
  const near = (event) => {
    const chart = event.target.closest && event.target.closest("svg.chart");
    if (!chart) return null;
    for (const reach of [0, 3, 6]) {
      for (let turn = 0; turn < (reach ? 8 : 1); turn += 1) {
        const x = event.clientX + reach * Math.cos((turn * Math.PI) / 4);
        const y = event.clientY + reach * Math.sin((turn * Math.PI) / 4);
        const found = document.elementFromPoint(x, y);
        const element = found && found.closest("svg.chart [data-trial]");
        if (element) return element;
      }
    }
    return null;
  };
  const heads = all("#trial-table thead th").map((head) => head.dataset.title);
  const described = (trial) => {
    const row = document.getElementById(`trial-${trial}`);
    if (!row) return [["trial", trial]];
    return [...row.cells]
      .map((cell, i) => [heads[i], cell.textContent.trim()])
      .filter(([, text]) => text && text !== missing);
  };
  const describe = (trial) =>
    described(trial)
      .map(([head, text]) => `${head}: ${text}`)
      .join("\n");
  let shown = null;
  const hide = () => {
    tip.hidden = true;
    shown = null;
  };
  document.addEventListener("pointermove", (event) => {
    const element = near(event);
    if (!element) return hide();
    if (shown !== element.dataset.trial) {
      shown = element.dataset.trial;
      tip.textContent = describe(shown);
      tip.hidden = false;
    }
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8))}px`;
    const below = event.clientY + 16;
    const top = below + box.height > innerHeight ? event.clientY - box.height - 12 : below;
    tip.style.top = `${Math.max(4, top)}px`;
  });
  document.addEventListener("scroll", hide, { passive: true });

  // sort
  const value = (row, index) => {
    const text = row.cells[index].textContent.trim();
    const number = parseFloat(text.replace(/,/g, "").replace("−", "-").replace("#", ""));
    return text === missing || text === "" ? null : Number.isNaN(number) ? text : number;
  };
  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === typeof b && typeof a === "number") return sign * (a - b);
    return sign * (String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0);
  };
  for (const table of all("table[data-sortable]")) {
    const buttons = all("thead th button", table);
    buttons.forEach((button, index) => {
      button.addEventListener("click", () => {
        const head = button.closest("th");
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => [value(row, index), row]);
        rows.sort((a, b) => compare(a[0], b[0], down ? -1 : 1));
        body.append(...rows.map(([, row]) => row));
      });
    });
  }

  // filter
  for (const form of all(".filters")) {
    const table = document.getElementById(form.dataset.table);
    const [text, strategy, state] = ["text", "strategy", "state"].map((name) =>
      one(`[name=${name}]`, form),
    );
    const count = one("output", form);
    const apply = () => {
      const words = text.value.toLowerCase();
      let kept = 0;
      for (const row of table.tBodies[0].rows) {
        const fits =
          (!strategy.value || row.cells[1].textContent === strategy.value) &&
          (!state.value || row.cells[2].textContent === state.value) &&
          (!words || row.textContent.toLowerCase().includes(words));
        row.hidden = !fits;
        kept += fits;
      }
      count.textContent = `${kept} of ${table.tBodies[0].rows.length}`;
    };
    form.hidden = false;
    count.textContent = `${table.tBodies[0].rows.length} of ${table.tBodies[0].rows.length}`;
    for (const control of [text, strategy, state]) control.addEventListener("input", apply);
  }

  // copy
  for (const block of all(".code")) {
    const button = one("button", block);
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = one("pre", block);
      getSelection().selectAllChildren(code);
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
      } catch {
        button.textContent = "selected";
      }
    });
  }

  const wanted = /^#trial-(\d+)$/.exec(location.hash);
  if (wanted && document.getElementById(location.hash.slice(1))) select(wanted[1], true);
  root.dataset.ready = "";
})();
