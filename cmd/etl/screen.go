package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// screen is what is known of where an output goes; the zero screen is a file.
type screen struct {
	width  int // in columns, 0: without a limit
	colour bool
}

// screenOf looks at an output.
func screenOf(w io.Writer) screen {
	if !interactive(w) {
		return screen{}
	}
	s := screen{colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if width, _, err := term.GetSize(int(w.(*os.File).Fd())); err == nil { //nolint:forcetypeassert // interactive has seen it
		s.width = width
	}
	return s
}

// paint colours s where that is wanted.
func (s screen) paint(c text.Color, what string) string {
	if !s.colour {
		return what
	}
	return c.Sprint(what)
}

// sheet is a table of the project's look that fits its screen.
type sheet struct {
	table.Writer
	screen  screen
	widths  []int // of the columns, as their texts are
	numbers bool  // the second column
}

// minColumn is how narrow a column gets at most.
const minColumn = 6

func (s screen) newSheet() *sheet {
	t := table.NewWriter()
	t.SetStyle(table.StyleRounded)
	return &sheet{Writer: t, screen: s}
}

// newFigures is a sheet of what, how many, and what that means.
func (s screen) newFigures() *sheet {
	t := s.newSheet()
	t.numbers = true
	return t
}

// AppendRow adds a row.
func (s *sheet) AppendRow(row table.Row, configs ...table.RowConfig) {
	s.measure(row)
	s.Writer.AppendRow(row, configs...)
}

// AppendHeader adds a header.
func (s *sheet) AppendHeader(row table.Row, configs ...table.RowConfig) {
	s.measure(row)
	s.Writer.AppendHeader(row, configs...)
}

func (s *sheet) measure(row table.Row) {
	for i, cell := range row {
		if i == len(s.widths) {
			s.widths = append(s.widths, 0)
		}
		for _, line := range strings.Split(fmt.Sprint(cell), "\n") {
			s.widths[i] = max(s.widths[i], text.StringWidthWithoutEscSequences(line))
		}
	}
}

// Render wraps the texts of the widest columns until the table fits.
func (s *sheet) Render() string {
	const border, padding = 1, 3 // columns of the screen: once, and for each of the table's
	left := s.screen.width - border - padding*len(s.widths)
	fits := append([]int(nil), s.widths...)
	for s.screen.width > 0 {
		widest, sum := 0, 0
		for i, width := range fits {
			sum += width
			if width > fits[widest] {
				widest = i
			}
		}
		if sum <= left || fits[widest] <= minColumn {
			break
		}
		fits[widest]--
	}
	var configs []table.ColumnConfig
	for i, width := range fits {
		c := table.ColumnConfig{Number: i + 1}
		if width < s.widths[i] {
			c.WidthMax, c.WidthMaxEnforcer = width, text.WrapSoft
		}
		if s.numbers && i == 1 {
			c.Align = text.AlignRight
		}
		configs = append(configs, c)
	}
	s.SetColumnConfigs(configs)
	return s.Writer.Render()
}
