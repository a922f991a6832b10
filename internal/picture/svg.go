package main

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// theme has the colors of a picture. The keys of colors are SGR codes.
type theme struct {
	name, background, border, text, dim string
	colors                              map[int]string
}

// themes has GitHub's own colors.
func themes() []theme {
	return []theme{
		{
			name: "light", background: "#ffffff", border: "#d1d9e0", text: "#1f2328", dim: "#818b98",
			colors: map[int]string{31: "#d1242f", 32: "#1a7f37", 33: "#9a6700", 34: "#0969da", 35: "#8250df", 36: "#1b7c83"},
		},
		{
			name: "dark", background: "#0d1117", border: "#3d444d", text: "#f0f6fc", dim: "#9198a1",
			colors: map[int]string{31: "#f85149", 32: "#3fb950", 33: "#d29922", 34: "#4493f8", 35: "#ab7df8", 36: "#39c5cf"},
		},
	}
}

// Sizes in pixels. A character of a monospaced font is 0.6 of its size wide.
const (
	fontSize   = 14
	charWidth  = 8.4
	lineHeight = 19
	margin     = 18
	titleBar   = 34
)

// draw returns a window with the command and its output as an SVG. The text is also in
// its description, for screen readers and for [sameLines].
func draw(t theme, command string, rows [][]cell) string {
	cols := len(command) + 2
	for _, row := range rows {
		cols = max(cols, len(row))
	}
	width := 2*margin + charWidth*float64(cols)
	height := titleBar + margin + lineHeight*(len(rows)+1)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" width="%.0f" height="%d" role="img" xml:space="preserve">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>Output of %s on a terminal</title>\n", html.EscapeString(command))
	fmt.Fprintf(&b, "<desc>\n%s</desc>\n", html.EscapeString(text(rows)))
	fmt.Fprintf(&b, `<style>
text { font: %dpx ui-monospace, SFMono-Regular, "SF Mono", Menlo, Consolas, "Liberation Mono", "DejaVu Sans Mono", monospace; fill: %s; white-space: pre; }
.dim { fill: %s; }
.bold { font-weight: bold; }
`, fontSize, t.text, t.dim)
	for code := 31; code <= 36; code++ {
		fmt.Fprintf(&b, ".c%d { fill: %s; }\n", code, t.colors[code])
	}
	b.WriteString("</style>\n")
	fmt.Fprintf(&b, `<rect x="0.5" y="0.5" width="%.0f" height="%d" rx="8" fill="%s" stroke="%s"/>`+"\n", width-1, height-1, t.background, t.border)
	for i := range 3 {
		fmt.Fprintf(&b, `<circle cx="%d" cy="%d" r="5" fill="%s"/>`+"\n", margin+5+18*i, titleBar/2, t.border)
	}
	b.WriteString(drawRow(append([]span{{"$", "dim"}}, span{" " + command, "bold"}), 0))
	for i, row := range rows {
		b.WriteString(drawRow(spans(row), i+1))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// span is text of one style.
type span struct{ text, class string }

func spans(row []cell) []span {
	var all []span
	for len(row) > 0 {
		end := slices.IndexFunc(row, func(c cell) bool { return c.style != row[0].style })
		if end < 0 {
			end = len(row)
		}
		var class []string
		if row[0].style.bold {
			class = append(class, "bold")
		}
		if color := row[0].style.color; color != 0 {
			class = append(class, fmt.Sprintf("c%d", color))
		}
		chars := make([]rune, end)
		for i, c := range row[:end] {
			chars[i] = c.char
		}
		all = append(all, span{string(chars), strings.Join(class, " ")})
		row = row[end:]
	}
	return all
}

// drawRow places each span in its column, and stretches it to its width, so that columns
// are straight in any font.
func drawRow(row []span, line int) string {
	var b strings.Builder
	y := titleBar + lineHeight*line + fontSize
	x := 0
	for _, r := range row {
		indent := len(r.text) - len(strings.TrimLeft(r.text, " "))
		visible := strings.TrimSpace(r.text)
		if n := len([]rune(visible)); n > 0 {
			class := ""
			if r.class != "" {
				class = fmt.Sprintf(" class=%q", r.class)
			}
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" textLength="%.1f"%s>%s</text>`+"\n",
				margin+charWidth*float64(x+indent), y, charWidth*float64(n), class, html.EscapeString(visible))
		}
		x += len([]rune(r.text))
	}
	return b.String()
}
