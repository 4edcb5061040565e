package stack

import (
	"net"
	"reflect"
	"strings"
	"testing"
)

func TestBSON(t *testing.T) {
	t.Parallel()
	doc := bsonDoc(bsonField{"s", "text"}, bsonField{"i", int32(-7)}, bsonField{"b", true}, bsonField{"p", []byte{1, 2}},
		bsonField{"d", bsonDoc(bsonField{"x", int32(1)})}, bsonField{"n", nil}, bsonField{"e", ""})
	got, err := parseBSON(doc)
	want := map[string]any{"s": "text", "i": int32(-7), "b": true, "p": []byte{1, 2}, "e": ""}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("parseBSON = %v, %v; want %v", got, err, want)
	}
}

func FuzzParseBSON(f *testing.F) {
	f.Add([]byte(bsonDoc(bsonField{"s", "text"}, bsonField{"p", []byte{1}}, bsonField{"d", bsonDoc()})))
	f.Add([]byte("\x0f\x00\x00\x00\x02s\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x00\x00"))                            // a length less than the length's own
	f.Fuzz(func(_ *testing.T, doc []byte) { _, _ = parseBSON(doc) }) // it must neither panic nor hang
}

func TestParseChallenge(t *testing.T) {
	t.Parallel()
	nonce, salt, rounds, err := parseChallenge("r=mine+yours,s=c2FsdA==,i=4096", "mine")
	if err != nil || nonce != "mine+yours" || string(salt) != "salt" || rounds != 4096 {
		t.Errorf("parseChallenge = %q, %q, %d, %v", nonce, salt, rounds, err)
	}
	for _, bad := range []string{"", "r=other,s=c2FsdA==,i=1", "r=mine,s=?,i=1", "r=mine,s=c2FsdA==,i=0", "r=mine,s=c2FsdA==,i=x"} {
		if _, _, _, err := parseChallenge(bad, "mine"); err == nil {
			t.Errorf("parseChallenge(%q) succeeds", bad)
		}
	}
}

// What answers on a port need not be the server that was meant.
func TestAnswersOfOthers(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(strings.Repeat("HTTP/1.1 404 no\r\n\r\n", 20)))
			_ = conn.Close()
		}
	}()
	address := listener.Addr().String()
	if err := greetAMQP(t.Context(), address); err == nil {
		t.Error("greetAMQP takes another server for RabbitMQ")
	}
	if err := pingMongoDB(t.Context(), address, credentials{"a", "b"}); err == nil {
		t.Error("pingMongoDB takes another server for MongoDB")
	}
	if err := queryManagement(t.Context(), "http://"+address); err == nil {
		t.Error("queryManagement takes another server for RabbitMQ")
	}
}
