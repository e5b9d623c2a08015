# Copyright 2026 c7_inference_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""The look of a page: light and dark, on a desk, on a phone and on paper."""

CSS = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1b1f24; --soft: #59636e;
  --line: #d1d9e0; --card: #f6f8fa; --good: #1a7f37; --bad: #b3261e; --warn: #7d4e00;
  --warn-back: #fff4d6; --heat: 0, 134, 201; }
@media (prefers-color-scheme: dark) { :root { --page: #0d1117; --ink: #e6edf3;
  --soft: #9da7b1; --line: #3a424c; --card: #161b22; --good: #4ac26b; --bad: #ff8a80;
  --warn: #f2cc60; --warn-back: #2d2409; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .5rem 0; max-width: 48rem; }
.soft, figcaption, caption, .none { color: var(--soft); }
.verdict { font-weight: 600; }
.verdict.good { color: var(--good); } .verdict.bad { color: var(--bad); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 10rem), 1fr));
  gap: .75rem 1.5rem; margin: 1rem 0; }
dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; }
.scroll { overflow-x: auto; margin: .75rem 0; }
.scroll th, .scroll td { overflow-wrap: normal; }
.words td { overflow-wrap: anywhere; min-width: 7rem; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 0 0 .4rem; }
th, td { padding: .3rem .75rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; }
thead th { color: var(--soft); font-weight: 500; white-space: nowrap; }
tbody th { font-weight: 500; }
.n { text-align: right; white-space: nowrap; }
.confusion td, .confusion th { border: 1px solid var(--line); padding: .3rem .45rem;
  vertical-align: middle; }
.confusion thead th { white-space: normal; vertical-align: bottom; font-size: .85rem; }
.confusion tbody th { white-space: nowrap; }
.confusion .right { font-weight: 700; }
.zero { color: var(--soft); }
svg { display: block; width: 100%; max-width: 56rem; height: auto; margin: .5rem 0; }
.plot { overflow-x: auto; } .plot svg { min-width: 34rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr));
  gap: 1rem; }
.gallery.wide { grid-template-columns: 1fr; }
figure { margin: 0; } figure img { display: block; width: 100%; height: auto;
  border-radius: 4px; background: var(--card); }
figcaption { font-size: .88rem; padding-top: .3rem; }
.problems { background: var(--warn-back); border-left: 4px solid var(--warn);
  padding: .6rem 1rem .6rem 2rem; margin: .75rem 0; }
.problems li { margin: .3rem 0; }
.key span { display: inline-block; white-space: nowrap; margin-right: 1rem; }
.key i { display: inline-block; width: 1rem; height: .7rem; margin-right: .35rem;
  border: 2px solid; vertical-align: baseline; }
details summary { cursor: pointer; margin: .5rem 0; }
code { font-family: ui-monospace, 'SF Mono', Menlo, Consolas, monospace; font-size: .88em; }
@media (max-width: 40rem) { body { font-size: 15px; } h1 { font-size: 1.35rem; } }
@media print { :root { color-scheme: light; --page: #ffffff; --ink: #000000; --soft: #444444;
    --line: #bbbbbb; --card: #ffffff; --good: #1a7f37; --bad: #b3261e; --warn: #7d4e00;
    --warn-back: #ffffff; }
  body { max-width: none; padding: 0; font-size: 10.5pt; print-color-adjust: exact;
    -webkit-print-color-adjust: exact; }
  h2, h3 { break-after: avoid; } figure, tr, svg { break-inside: avoid; }
  .scroll, .plot { overflow: visible; } .plot svg { min-width: 0; } }
"""
