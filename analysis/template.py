"""The report's HTML, a jinja2 template rendered with autoescape: no text of a model is trusted."""

TEMPLATE = """{% macro show(table) %}
<h3>{{ table.title }}</h3>
<div class="scroll"><table>
<thead><tr>{% for name in table.header %}<th>{{ name }}</th>{% endfor %}</tr></thead>
{% for group in table.groups %}
<tbody>
{% for row in group %}
<tr>
{% for entry in row %}
<td>{% if entry.bold %}<b>{{ entry.text }}</b>{% else %}{{ entry.text }}{% endif %}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
{% endfor %}
</table></div>
<ul class="notes">{% for note in table.notes %}<li>{{ note }}</li>{% endfor %}</ul>
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Label-free reinforcement learning: report</title>
<style>
body { max-width: 66rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; background: #fff;
       font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; }
h2 { margin-top: 3rem; padding-bottom: .3rem; border-bottom: 2px solid #1b1b1b; }
h3 { margin-top: 2.2rem; } h4 { margin: 1.6rem 0 .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums;
        white-space: nowrap; }
th, td { padding: .22rem .8rem .22rem 0; text-align: left; vertical-align: top; }
thead th { border-bottom: 1px solid #1b1b1b; } tbody + tbody tr:first-child td { border-top: 1px solid #ccc; }
.wrap { white-space: normal; overflow-wrap: anywhere; min-width: 12rem; }
.notes { margin: .5rem 0; padding-left: 1.1rem; font-size: .84rem; color: #444; }
figure { margin: 1.8rem 0; } figure img { width: 100%; height: auto; }
figcaption { font-size: .88rem; color: #333; }
details { margin: .5rem 0; } summary { cursor: pointer; }
.example { margin: .9rem 0; padding: .1rem .9rem .6rem; border-left: 3px solid #ccc; }
.gain { border-color: #0072b2; } .loss { border-color: #d55e00; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .8rem; }
@media (max-width: 40rem) { .pair { grid-template-columns: 1fr; } }
pre { margin: .2rem 0; padding: .5rem .6rem; max-height: 16rem; overflow: auto; background: #f5f5f5;
      font: .82rem/1.45 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.small { font-size: .84rem; color: #444; margin: .4rem 0 0; }
</style>
</head>
<body>
<h1>Label-free reinforcement learning: what the runs show</h1>
<p>{{ runs }} run{{ "" if runs == 1 else "s" }}{{ ", by scale:" if blocks else "." }}
{% for block in blocks %}
<a href="#scale-{{ loop.index }}">{{ block.scale }}</a> ({{ block.records|length
}}){{ "." if loop.last else "," }}
{% endfor %}
Numbers of different scales never share a table or a figure.
{% if stress %}<a href="#stress">How each reward ranks answers of known worth, before any training.</a> {% endif %}
<a href="#methods">How the numbers are made.</a></p>

{% for block in blocks %}
<section id="scale-{{ loop.index }}">
<h2>Scale: {{ block.scale }}</h2>
<p>{{ block.about }} {{ block.records|length }} run{{ "" if block.records|length == 1 else "s" }},
seeds {{ block.records|map(attribute="seed")|unique|sort|join(", ") }}.</p>
{% for note in block.notes %}<p class="small">{{ note }}</p>{% endfor %}

{% for table in block.results %}{{ show(table) }}{% endfor %}

<h3>Figures (scale: {{ block.scale }})</h3>
{% for image in block.images %}
<figure><img src="data:image/png;base64,{{ image.data }}" alt="{{ image.caption }}">
<figcaption>{{ image.caption }}</figcaption></figure>
{% else %}
<p>No run of this scale has verdicts or a training history to draw.</p>
{% endfor %}

{% for table in block.evidence %}{{ show(table) }}{% endfor %}

<h3>Warnings and stops (scale: {{ block.scale }})</h3>
{% if block.flagged %}
<div class="scroll"><table>
<thead><tr><th>run</th><th>steps</th><th>stopped</th><th>warnings</th></tr></thead>
<tbody>
{% for run in block.flagged %}
<tr><td>{{ run.run_id }}</td><td>{{ run.steps }}</td><td class="wrap">{{ run.stopped or "no" }}</td>
<td class="wrap">
{% for warning in run.warnings %}
<div>{{ warning }}</div>
{% else %}
none
{% endfor %}
</td></tr>
{% endfor %}
</tbody></table></div>
{% else %}
<p>No run warned or stopped early.</p>
{% endif %}

<h3>Responses before and after training (scale: {{ block.scale }})</h3>
<p>For each cell up to two of the biggest gains, two of the biggest losses, and two drawn at random. The
extremes are chosen by the judge's scores, or by its verdicts where it has none: they show what can happen,
the random ones what is usual.</p>
{% for cell, examples in block.examples %}
<details><summary>{{ cell.family }} {{ cell.regime }}, {{ cell.method }} (judge: {{ cell.judge }})</summary>
{% for example in examples %}
<div class="example {{ example.kind }}">
<h4>{{ example.kind|capitalize }}: {{ example.verdict }} <small>(seed {{ example.seed }})</small></h4>
<p class="small">Prompt</p><pre>{{ example.prompt }}</pre>
{% if example.reference is not none %}
<p class="small">Reference</p><pre>{{ example.reference }}</pre>
{% endif %}
<div class="pair">
<div><p class="small">Untrained start, {{ example.start_length }}</p><pre>{{ example.start }}</pre></div>
<div><p class="small">Trained, {{ example.policy_length }}</p><pre>{{ example.policy }}</pre></div>
</div></div>
{% else %}
<p>No pair with a verdict.</p>
{% endfor %}
</details>
{% endfor %}
</section>
{% endfor %}

{% if stress %}
<section id="stress">
<h2>Before any training: how each reward ranks answers of known worth</h2>
<p>No model was trained for these tables. Where a reward ranks another answer above the right one, training on it
can raise the reward without better answers.</p>
{% for part in stress %}
{% for table in part.tables %}{{ show(table) }}{% endfor %}
<figure><img src="data:image/png;base64,{{ part.image.data }}" alt="{{ part.image.caption }}">
<figcaption>{{ part.image.caption }}</figcaption></figure>
{% endfor %}
</section>

{% endif %}
<section id="methods">
<h2>How the numbers are made</h2>
<p><b>Win rate.</b> A judge compares the trained policy's response with the response of the same model
before training, by default once in each order. The win rate is (wins + ties / 2) / scored verdicts. A call
that failed or a reply that does not parse is unscored: counted and left out, never a tie. The bounds say
what the rate would be were all of them lost, or all won.</p>
<p><b>Intervals.</b> {{ level }} % percentile bootstrap, {{ resamples }} resamples of prompts; all verdicts
on a prompt, both orders and every seed, are drawn together. Below {{ few }} prompts no interval is given.
The interval is about other prompts of the same kind, for these trained models; how training varies is shown
apart, by the range over seeds. Each interval stands alone: among twenty cells without any effect about one
excludes 50 %.</p>
<p><b>Pooled.</b> A cell pools the seeds of one reward, verifier and configuration, on one family and
regime, under one judge. Runs whose configurations differ in anything but the seed are separate rows, named
by what differs. Scales are never pooled. Runs that stopped early count as they were then, marked †.</p>
<p><b>Quality.</b> Mean of the judge's own scores over the same verdicts, before and after, with the
interval of the paired difference. Under the miniature's oracle it is the world's exact quality, 0 to 1;
elsewhere it is the judge's opinion.</p>
</section>
</body>
</html>
"""
