package api_test

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/run"
)

func zipped(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// What is no plain JSON object in UTF-8, or asks for nothing that can be done, starts
// nothing, and the answer names what is wrong.
func TestCaseD9Bodies(t *testing.T) {
	t.Parallel()
	gz := zipped(t, `{"dryRun":true}`)
	for name, c := range map[string]struct {
		body    string
		headers []string
		status  int
		says    string
	}{
		"a byte order mark":           {"\ufeff{}", nil, 400, "begins with the byte order mark of UTF-8"},
		"nothing but one":             {"\ufeff", nil, 400, "begins with the byte order mark of UTF-8"},
		"UTF-16":                      {"\xff\xfe{\x00}\x00", nil, 400, "begins with the byte order mark of UTF-16"},
		"UTF-16, the other way":       {"\xfe\xff\x00{\x00}", nil, 400, "begins with the byte order mark of UTF-16"},
		"Latin-1":                     {"{\"reason\":\"Gr\xf6\xdfe\"}", nil, 400, "is not valid UTF-8"},
		"gzip":                        {gz, []string{"Content-Encoding", "gzip"}, 415, "must not be compressed"},
		"gzip in other letters":       {gz, []string{"Content-Encoding", "X-GZIP"}, 415, "must not be compressed"},
		"gzip that is not announced":  {gz, nil, 415, "compressed with gzip"},
		"zstd that is not announced":  {"\x28\xb5\x2f\xfd\x04", nil, 415, "compressed with zstd"},
		"an encoding that it has not": {"{}", []string{"Content-Encoding", "br"}, 415, "must not be compressed"},
		"identity":                    {"{}", []string{"Content-Encoding", "Identity"}, 202, ""},
		"charset":                     {"{}", []string{"Content-Type", `application/json; charset="UTF-8"`}, 202, ""},
		"charset of ASCII":            {"{}", []string{"Content-Type", "application/json;charset=us-ascii"}, 202, ""},
		"another charset":             {"{}", []string{"Content-Type", "application/json; charset=iso-8859-1"}, 415, "another charset"},
		"UTF-16 by charset":           {"{}", []string{"Content-Type", "application/json; charset=utf-16"}, 415, "another charset"},
		"trailing data":               {`{"dryRun":true} {"dryRun":false}`, nil, 400, "nothing behind it"},
		"a trailing NUL":              {"{}\x00", nil, 400, "nothing behind it"},
		"a member twice":              {`{"dryRun":true,"dryRun":false}`, nil, 400, `"field":"dryRun","message":"is given twice"`},
		"a member in other letters":   {`{"DryRun":true}`, nil, 400, `"field":"DryRun"`},
		"a list":                      {`[{"dryRun":true}]`, nil, 400, "must be a JSON object"},
		"null":                        {"null", nil, 400, "must be a JSON object"},
		"a text":                      {`"{}"`, nil, 400, "must be a JSON object"},
		"a comment":                   {"{/* */}", nil, 400, "is no valid JSON"},
		"single quotes":               {"{'dryRun':true}", nil, 400, "is no valid JSON"},
		"deep":                        {`{"reason":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}", nil, 400, "is no valid JSON"},
		"huge":                        {`{"reason":"` + strings.Repeat("x", api.MaxBody) + `"}`, nil, 413, "longer than"},
		"a batch of 0":                {`{"batchSize":0}`, nil, 400, `"field":"batchSize","message":"must be 1..1000"`},
		"a batch of -0":               {`{"batchSize":-0}`, nil, 400, `"field":"batchSize"`},
		"a batch of 0.0":              {`{"batchSize":0.0}`, nil, 400, `"field":"batchSize"`},
		"a batch of 0 as a text":      {`{"batchSize":"0"}`, nil, 400, `"field":"batchSize"`},
		"a batch of 1001.0":           {`{"batchSize":1001.0}`, nil, 400, "must be 1..1000"},
		"a batch of 1.5":              {`{"batchSize":1.5}`, nil, 400, "must be a whole number"},
		"a batch of 1e400":            {`{"batchSize":1e400}`, nil, 400, "must be a whole number"},
		"no deletions":                {`{"repair":"orphaned","maxDeletes":0}`, nil, 400, `"field":"maxDeletes","message":"must be at least 1; without it SYNC_MAX_DELETES counts"`},
		"no repairs":                  {`{"maxRepairs":0}`, nil, 400, `"field":"maxRepairs","message":"must be at least 1; without it no number is set"`},
		"a batch of 50.0":             {`{"batchSize":50.0}`, nil, 202, `"batchSize":50,`},
		"a batch of 5e1":              {`{"batchSize":5e1}`, nil, 202, `"batchSize":50,`},
		"a batch that is left to us":  {`{"batchSize":null}`, nil, 202, ""},
		"blanks around it":            {" \r\n\t{} \n", nil, 202, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			if strings.Contains(c.body, ":null") {
				s.handler = s.api // the document need not speak of it
			}
			a := s.do("POST", "/api/etl/sync", c.body, c.headers...).want(c.status, c.says)
			if c.status == 415 {
				a.wantHeader("Accept-Encoding", "identity")
			}
			if c.status >= 400 && len(s.rung)+len(s.All()) > 0 {
				t.Errorf("started %v", s.All())
			}
		})
	}
}

// What takes no body does not pass over one: a trigger with dryRun would repair.
func TestCaseD9BodiesWhereNoneIsRead(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"scheduler/trigger", "scheduler/stop", "scheduler/start", "runs/{id}/cancel", "runs/{id}/pause", "runs/{id}/resume"} {
		s := setup(t)
		path = "/api/etl/" + strings.ReplaceAll(path, "{id}", s.add(run.Record{Status: run.StatusRunning, Request: run.Request{Order: run.Order{DryRun: true}}}))
		for _, body := range []string{`{"dryRun":true}`, "dryRun=true", "[]", "\x00"} {
			s.do("POST", path, body).want(400, "this takes no body")
		}
		s.do("POST", path, strings.Repeat(" ", api.MaxBody+1)).want(413)
		if len(s.rung) > 0 || len(s.All()) > 1 {
			t.Errorf("%s started %v", path, s.All())
		}
		for _, body := range []string{"", "{}", " null\n"} {
			if a := s.do("POST", path, body); a.Code != http.StatusOK && a.Code != http.StatusAccepted && a.Code != http.StatusConflict {
				t.Errorf("%s with %q: %d %s", path, body, a.Code, a.Body)
			}
		}
	}
}

// The former service's callers name pipelines, and send numbers and truth values as texts.
func TestCaseF5FormerCallersOfSync(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"pipelines":["product"]}`:            `"mode":"replay"`,
		`{"pipelines":["product","products"]}`: "",
		`{"pipelines":"product"}`:              "",
		`{"pipelines":" product , products"}`:  "",
		`{"pipelines":[]}`:                     "",
		`{"pipelines":""}`:                     "",
		`{"pipelines":null}`:                   "",
		`{"batchSize":"50"}`:                   `"batchSize":50,`,
		`{"batchSize":" 50 "}`:                 `"batchSize":50,`,
		`{"batchSize":"50.0"}`:                 `"batchSize":50,`,
		`{"dryRun":"true"}`:                    `"dryRun":true`,
		`{"dryRun":"false","maxRepairs":"7"}`:  `"maxRepairs":7`,
		`{"dryRun":"false","batchSize":"100","pipelines":["product"]}`:          `"batchSize":100`,
		`{"repair":"orphaned","maxDeletes":"3","dryRun":true,"pipelines":null}`: `"maxDeletes":3`,
	} {
		s := setup(t)
		if strings.Contains(body, " 50 ") || strings.Contains(body, "50.0") || strings.Contains(body, "null") {
			s.handler = s.api // the document need not speak of it
		}
		a := s.do("POST", "/api/etl/sync", body).want(202, want)
		if dry := strings.Contains(body, `"dryRun":"true"`) || strings.Contains(body, `"dryRun":true`); (a.get("request.dryRun") == true) != dry {
			t.Errorf("%s: %s", body, a.Body)
		}
	}
	for body, want := range map[string]string{
		`{"pipelines":["elasticsearch"]}`:                 `"there is no pipeline elasticsearch here: only products are synchronised`,
		`{"pipelines":["product","user"]}`:                "there is no pipeline user here",
		`{"pipelines":["user","elasticsearch","user"]}`:   "there is no pipelines user, elasticsearch here",
		`{"pipelines":"product,user"}`:                    "there is no pipeline user here",
		`{"pipelines":["all"]}`:                           "there is no pipeline all here",
		`{"pipelines":["Product"]}`:                       "there is no pipeline Product here",
		`{"pipelines":["a\nb"]}`:                          `there is no pipeline \"a\\nb\" here`,
		`{"pipelines":[""]}`:                              `there is no pipeline \"\" here`,
		`{"pipelines":["user"],"index":"products","x":1}`: "there is no pipeline user here",
	} {
		s := setup(t)
		s.do("POST", "/api/etl/sync", body).want(501, want)
		s.do("POST", "/api/etl/runs/"+s.looked()+"/apply", body).want(501, want)
		if len(s.rung) > 0 {
			t.Errorf("%s started %v", body, s.rung)
		}
	}
	for body, field := range map[string]string{
		`{"pipelines":[1]}`: "pipelines", `{"pipelines":{"product":true}}`: "pipelines", `{"pipelines":true}`: "pipelines",
		`{"dryRun":"yes"}`: "dryRun", `{"dryRun":"TRUE"}`: "dryRun", `{"dryRun":1}`: "dryRun", `{"dryRun":""}`: "dryRun", `{"dryRun":"null"}`: "dryRun",
		`{"batchSize":"many"}`: "batchSize", `{"batchSize":""}`: "batchSize", `{"batchSize":"0x10"}`: "batchSize", `{"batchSize":"null"}`: "batchSize", `{"batchSize":true}`: "batchSize",
		`{"batchSize":["50"]}`: "batchSize", `{"batchSize":"1001"}`: "batchSize", `{"batchSize":"-1"}`: "batchSize",
	} {
		s := setup(t)
		s.do("POST", "/api/etl/sync", body).want(400, `"field":"`+field+`"`)
		if len(s.rung) > 0 {
			t.Errorf("%s started %v", body, s.rung)
		}
	}
	setup(t).do("POST", "/api/etl/sync/user", "").want(501, "there is no pipeline user here")
}
