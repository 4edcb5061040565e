package text

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// Texts keep what they were made of until the slab is reset, whatever is made meanwhile.
func TestSlabTextsStay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var slab *Slab
		if rapid.Bool().Draw(t, "pieces") {
			slab = &Slab{}
		}
		var texts []string
		var want [][]byte
		for i := range rapid.IntRange(1, 200).Draw(t, "texts") {
			if rapid.IntRange(0, 49).Draw(t, "reset") == 0 {
				slab.Reset()
				texts, want = nil, nil
			}
			size := rapid.SampledFrom([]int{0, 1, 12, 24, 300, 5000, slabBytes / 4, slabBytes/4 + 1}).Draw(t, "size")
			b := bytes.Repeat([]byte{byte(i)}, size)
			texts, want = append(texts, slab.Text(b)), append(want, bytes.Clone(b))
			clear(b) // as a driver's buffer is used again
		}
		for i := range texts {
			if texts[i] != string(want[i]) {
				t.Fatalf("text %d of %d has changed", i, len(texts))
			}
		}
	})
}

func BenchmarkSlab(b *testing.B) {
	title := []byte("a title as products have them, and a little more of it")
	for name, slab := range map[string]*Slab{"pieces": {}, "apart": nil} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if n%1000 == 0 {
					slab.Reset()
				}
				if slab.Text(title) == "" {
					b.Fatal("nothing")
				}
			}
		})
	}
}
