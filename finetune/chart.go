package finetune

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// series is a line of a chart.
type series struct {
	Name, Class string
	x, y        []float64
}

func (s *series) add(x, y float64) { s.x, s.y = append(s.x, x), append(s.y, y) }

// chart is a drawing with a title.
type chart struct {
	Title, Unit string
	Lines       []series
	SVG         template.HTML // of numbers only
}

// The drawing, in its own units.
const (
	chartWidth  = 720.0
	chartHeight = 220.0
	chartLeft   = 58.0
	chartRight  = 12.0
	chartTop    = 10.0
	chartBottom = 26.0
)

// draw makes a chart of values over steps; logarithmic if they span much and
// are all positive.
func draw(title, unit string, steps int, logarithmic bool, lines ...series) chart {
	c := chart{Title: title, Unit: unit}
	low, high := math.Inf(1), math.Inf(-1)
	for _, l := range lines {
		if len(l.x) > 0 {
			c.Lines = append(c.Lines, l)
		}
		for _, v := range l.y {
			low, high = min(low, v), max(high, v)
		}
	}
	if len(c.Lines) == 0 {
		return c
	}
	logarithmic = logarithmic && low > 0 && high/low > 100
	scale := func(v float64) float64 { return v }
	if logarithmic {
		scale = math.Log10
	}
	marks := ticks(scale(low), scale(high))
	bottom, top := min(scale(low), marks[0]), max(scale(high), marks[len(marks)-1])
	if top == bottom {
		top++
	}
	atX := func(step float64) float64 {
		return chartLeft + (chartWidth-chartLeft-chartRight)*step/float64(max(1, steps))
	}
	atY := func(v float64) float64 {
		return chartHeight - chartBottom - (chartHeight-chartTop-chartBottom)*(v-bottom)/(top-bottom)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img">`, chartWidth, chartHeight)
	for _, m := range marks {
		v := m
		if logarithmic {
			v = math.Pow(10, m)
		}
		fmt.Fprintf(&b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/><text class="y" x="%g" y="%.1f">%s</text>`,
			chartLeft, chartWidth-chartRight, atY(m), atY(m), chartLeft-6, atY(m)+4, strconv.FormatFloat(v, 'g', 4, 64))
	}
	for _, m := range ticks(0, float64(steps)) {
		if m != math.Trunc(m) || m > float64(steps) {
			continue
		}
		fmt.Fprintf(&b, `<text class="x" x="%.1f" y="%g">%g</text>`, atX(m), chartHeight-8, m)
	}
	for _, l := range c.Lines {
		if len(l.x) == 1 {
			fmt.Fprintf(&b, `<circle class="%s" cx="%.1f" cy="%.1f" r="3"/>`, l.Class, atX(l.x[0]), atY(scale(l.y[0])))
			continue
		}
		fmt.Fprintf(&b, `<polyline class="%s" points="`, l.Class)
		for _, i := range thin(l.y) {
			fmt.Fprintf(&b, "%.1f,%.1f ", atX(l.x[i]), atY(scale(l.y[i])))
		}
		b.WriteString(`"/>`)
	}
	b.WriteString("</svg>")
	c.SVG = template.HTML(b.String())
	return c
}

// thin picks the points to draw: all of a few, of many the lowest and the
// highest of each column, so that no peak is lost.
func thin(y []float64) []int {
	const columns = 700
	var picked []int
	if len(y) <= 2*columns {
		for i := range y {
			picked = append(picked, i)
		}
		return picked
	}
	for c := range columns {
		from, to := c*len(y)/columns, (c+1)*len(y)/columns
		low, high := from, from
		for i := from; i < to; i++ {
			if y[i] < y[low] {
				low = i
			}
			if y[i] > y[high] {
				high = i
			}
		}
		picked = append(picked, min(low, high))
		if low != high {
			picked = append(picked, max(low, high))
		}
	}
	return picked
}

// ticks returns about five round numbers that cover a range.
func ticks(low, high float64) []float64 {
	if !(high > low) {
		return []float64{low}
	}
	raw := (high - low) / 4
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	step := 10 * power
	for _, m := range []float64{1, 2, 5} {
		if m*power >= raw {
			step = m * power
			break
		}
	}
	var list []float64
	for i := math.Floor(low / step); i*step < high+step && len(list) < 20; i++ {
		// Rounded to what the step can show.
		list = append(list, math.Round(i*step/power)*power)
	}
	return list
}
