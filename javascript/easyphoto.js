// What gradio alone can't do in all versions that hosts bring: look again while a job runs, remember over a reload what
// this page was about, and speak the reader's language. Works on plain DOM; a WebUI loads it from the extension's
// folder, the standalone app puts it in the head.
(function () {
    "use strict";
    const LOOK_AGAIN_MS = 1000;
    const LOOK_AT_LAST_MS = 10000;
    const BEAT_MS = 100;
    const REST = 4; // how much longer than a look kept the page busy until the next one
    const ATTRIBUTES = ["placeholder", "aria-label", "title"];
    const STORE = "easyphoto";
    const STARTS = ["train_start", "train_resume", "train_add", "generate_start", "video_start"]
        .map((name) => `#easyphoto_${name}`)
        .join();
    const SAME_AGAIN_MS = 1500;
    const SAID = ".easyphoto-error, .easyphoto-good";
    const IN_SIGHT = 0.6; // of the window's height: what begins further down is hardly seen
    let words = null; // English -> the reader's language, null for English
    let read = ""; // the words as they were last read
    let restored = false; // the user id of before
    let queueSeen = false; // whether the queue was unfolded at the last look

    // In gradio 3 a host may put its page inside a shadow root.
    function page() {
        return typeof gradioApp === "function" ? gradioApp() : document;
    }

    function root() {
        return page().querySelector("#easyphoto");
    }

    // --- a running job asks to be looked at again: data-poll names the hidden button ---------------------------------
    function look() {
        const here = root();
        if (!here) return;
        const asking = new Set();
        here.querySelectorAll("[data-poll]").forEach((panel) => asking.add(panel.dataset.poll));
        // An answer about an earlier job may come late and take the panel of the one that was started since.
        here.querySelectorAll(".easyphoto-mark").forEach((mark) => {
            const shown = here.querySelector("#" + CSS.escape(mark.dataset.prefix + "_progress") + " [data-job]");
            if (shown && shown.dataset.job !== mark.dataset.job) asking.add(mark.dataset.prefix + "_tick");
        });
        // The queue knows of nothing that began since it was drawn: it is asked when it is unfolded, and while something runs.
        const queue = here.querySelector("#easyphoto_queue_list");
        const unfolded = Boolean(queue && queue.offsetParent);
        if (unfolded && (asking.size || !queueSeen)) asking.add("easyphoto_queue_tick");
        queueSeen = unfolded;
        asking.forEach((id) => {
            const button = here.querySelector("#" + CSS.escape(id));
            if (button) button.click();
        });
    }

    // A look costs a WebUI's page of thousands of parts up to seconds, which the job may need: on a small machine it draws on
    // the same processor. How late a beat comes tells how busy the page was.
    let lookedAt = 0;
    let beatAt = performance.now();
    let busy = 0;

    function beat() {
        const now = performance.now();
        const late = now - beatAt - BEAT_MS;
        beatAt = now;
        if (document.hidden) return; // browsers let hidden pages beat late
        busy += Math.max(0, late);
        const rest = Math.min(LOOK_AT_LAST_MS, Math.max(LOOK_AGAIN_MS, REST * busy));
        if (now - lookedAt < rest) return;
        lookedAt = now;
        busy = 0;
        look();
    }

    // --- what this page comes back to when it is loaded again: its last jobs, its photos by its own name, the user id.
    // A page that was open before goes before what another page of this browser left.
    function kept() {
        for (const store of ["sessionStorage", "localStorage"]) {
            try {
                const found = JSON.parse(window[store].getItem(STORE));
                if (found && typeof found === "object") return found;
            } catch (error) {
                // no storage here, or not ours
            }
        }
        return {};
    }

    function keep(all) {
        for (const store of ["sessionStorage", "localStorage"]) {
            try {
                window[store].setItem(STORE, JSON.stringify(all));
            } catch (error) {
                // a browser may forbid it: then a reload forgets
            }
        }
    }

    function name() {
        const bytes = crypto.getRandomValues(new Uint8Array(16));
        return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    }

    window.easyphotoKept = function () {
        const all = kept();
        if (!all.page) {
            all.page = name();
            keep(all);
        }
        return JSON.stringify(all);
    };

    function userId(here) {
        return here.querySelector("#easyphoto_train_user_id textarea, #easyphoto_train_user_id input");
    }

    // Here and not by the server, whose answer could come after somebody began to type.
    function restore(here) {
        const box = userId(here);
        if (!box) return;
        restored = true;
        const before = kept().user_id;
        if (!before || box.value) return;
        box.value = before;
        box.dispatchEvent(new Event("input", { bubbles: true }));
    }

    function remember() {
        const here = root();
        if (here && !restored) restore(here);
        if (!here || !here.querySelector(".easyphoto-mark")) return; // before the page was told what it had
        const all = kept();
        const before = JSON.stringify(all);
        all.jobs = all.jobs || {};
        here.querySelectorAll(".easyphoto-mark[data-keep]").forEach((mark) => {
            all.jobs[mark.dataset.keep] = mark.dataset.job;
        });
        const box = userId(here);
        if (box && restored) all.user_id = box.value;
        if (JSON.stringify(all) !== before) keep(all);
    }

    // --- what our own HTML asks for by a click: data-open-tab is the way to another of our tabs, by its number; data-ask
    // names a hidden button, which tells the server the data-value; data-copy goes to the clipboard -----------------
    const PATIENCE = 200; // looks, ten seconds in all
    let asked = "";
    window.easyphotoAsked = () => asked;

    // A tab that was never opened before has what is in it only a little later.
    function whenThere(find, act, tries = PATIENCE) {
        const found = find();
        if (found) act(found);
        else if (tries > 0) setTimeout(() => whenThere(find, act, tries - 1), 50);
    }

    function tabIn(tabsId, number) {
        const bar = `#${tabsId} > .tab-wrapper `;
        const shown = Array.from(root().querySelectorAll(`${bar}[role=tab], #${tabsId} > .tab-nav > button`));
        // On a narrow page gradio puts the last tabs into a menu.
        const tabs = shown.concat(Array.from(root().querySelectorAll(`${bar}.overflow-dropdown > button`)));
        return tabs[number];
    }

    function openTab(tabsId, number) {
        whenThere(() => tabIn(tabsId, number), (tab) => tab.click());
    }

    function copy(text) {
        if (navigator.clipboard) {
            navigator.clipboard.writeText(text);
            return;
        }
        const box = document.createElement("textarea"); // a page that came over plain HTTP has no clipboard
        box.value = text;
        document.body.append(box);
        box.select();
        document.execCommand("copy");
        box.remove();
    }

    function follow(way) {
        if (way.dataset.openTab) {
            openTab("easyphoto_tabs", Number(way.dataset.openTab));
            root().scrollIntoView(); // who was far down on one tab begins at the top of the other
        }
        if (way.dataset.openTemplates) openTab("easyphoto_generate_templates", Number(way.dataset.openTemplates));
        if (way.dataset.copy) copy(way.dataset.copy);
        if (!way.dataset.ask) return;
        asked = way.dataset.value || "";
        whenThere(
            () => root().querySelector("#" + CSS.escape(way.dataset.ask)),
            (button) => button.click(),
        );
    }

    // What comes of a click may lie out of sight, on a phone nearly always: the panel of the job, or the line that says what is wrong.
    function showWhatComes(tab) {
        const [panel, line] = ["progress", "error"].map((part) => root().querySelector(`#easyphoto_${tab}_${part}`));
        const job = () => (panel.querySelector("[data-job]") || { dataset: {} }).dataset.job;
        const words = () => (line.querySelector(SAID) || { textContent: "" }).textContent;
        const [jobBefore, wordsBefore] = [job(), words()];
        const go = (place, block) => {
            const { top } = place.getBoundingClientRect();
            if (top < 0 || top > window.innerHeight * IN_SIGHT) place.scrollIntoView({ block: block });
        };
        const come = () => (job() !== jobBefore ? "start" : words() && words() !== wordsBefore ? "center" : null);
        whenThere(come, (block) => go(block === "start" ? panel : line, block));
        // Who asks for the same again is told the same again.
        setTimeout(() => words() && words() === wordsBefore && go(line, "center"), SAME_AGAIN_MS);
    }

    function close(large) {
        large.hidden = true;
    }

    document.addEventListener("click", (event) => {
        const clicked = event.composedPath()[0];
        if (!(clicked instanceof Element) || !root()) return;
        const way = clicked.closest("[data-open-tab], [data-ask], [data-copy]");
        const large = clicked.closest(".easyphoto-large");
        if (way) follow(way);
        else if (large && !clicked.closest("input")) close(large);
        const start = clicked.closest(STARTS);
        if (start) showWhatComes(start.id.split("_")[1]);
    });

    document.addEventListener("keydown", (event) => {
        const pressed = event.composedPath()[0];
        if (!root()) return;
        if (event.key === "Escape") root().querySelectorAll(".easyphoto-large").forEach(close);
        if ((event.key === "Enter" || event.key === " ") && pressed instanceof Element && pressed.matches("img[data-ask]")) {
            event.preventDefault();
            follow(pressed);
        }
    });

    // The slider between a portrait and its template.
    document.addEventListener("input", (event) => {
        const slider = event.composedPath()[0];
        const pair = slider instanceof Element && slider.closest(".easyphoto-compare");
        if (pair) pair.style.setProperty("--before", `${slider.value}%`);
    });

    // --- language ----------------------------------------------------------------------------------------------------
    function translateText(node) {
        const known = words[node.data.trim()];
        if (known && known !== node.data.trim()) node.data = node.data.replace(node.data.trim(), known);
    }

    function translateElement(element) {
        for (const name of ATTRIBUTES) {
            const known = words[element.getAttribute(name)];
            if (known) element.setAttribute(name, known);
        }
    }

    function translate(node) {
        if (node.nodeType === Node.TEXT_NODE) return translateText(node);
        if (node.nodeType !== Node.ELEMENT_NODE) return undefined;
        translateElement(node);
        const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
        while (walker.nextNode()) {
            const found = walker.currentNode;
            if (found.nodeType === Node.TEXT_NODE) translateText(found);
            else translateElement(found);
        }
        return undefined;
    }

    const observer = new MutationObserver((changes) => {
        if (!words) return;
        for (const change of changes) {
            if (change.type === "characterData") translateText(change.target);
            else change.addedNodes.forEach(translate);
        }
    });

    function speak() {
        const here = root();
        const told = here && here.querySelector("#easyphoto-words");
        if (!told || told.dataset.words === read) return;
        read = told.dataset.words;
        const found = JSON.parse(read);
        if (!Object.keys(found).length) return;
        words = Object.assign(Object.create(null), found);
        translate(here);
        observer.disconnect();
        observer.observe(here, { childList: true, subtree: true, characterData: true });
    }

    // gradio measures our tabs when it makes them, mostly before the style has made them small and the words are in the
    // reader's language, and puts those that don't fit into a menu. It measures again when the window changes.
    let measured = "";

    function measureTabs() {
        const first = page().querySelector("#easyphoto_tab_train-button");
        if (!first) return;
        const looks = getComputedStyle(first);
        const now = [looks.order, looks.fontSize, looks.fontFamily, first.textContent, document.fonts.status].join();
        if (now !== measured) window.dispatchEvent(new Event("resize"));
        measured = now;
    }

    setInterval(speak, 200);
    setInterval(measureTabs, 200);
    setInterval(remember, 200);
    window.addEventListener("pagehide", remember);
    setInterval(beat, BEAT_MS);
})();
