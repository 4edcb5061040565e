package testenv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// MongoWire is a proxy that understands MongoDB's protocol. It records the commands that clients send, and changes
// what the server behind it answers. The tests' server is one node, so this, and not a real server, shows what only a
// replica set does: elections, secondaries, a majority that lags. What is read still comes from the real server.
type MongoWire struct {
	Addr string // host:port where it listens

	listener net.Listener
	target   string
	tasks    sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	commands []MongoCommand
	edit     MongoEdit
	closed   bool
}

// MongoCommand is a command that a client has sent.
type MongoCommand struct {
	Name string
	Body bson.Raw
}

// MongoEdit changes the server's answer to a command; what it returns is sent. It is called from several goroutines.
type MongoEdit func(command MongoCommand, reply bson.D) bson.D

// NewMongoWire starts a proxy in front of target, a host:port. It ends with the test.
func NewMongoWire(tb testing.TB, target string) *MongoWire {
	tb.Helper()
	listener, err := listenAnywhere()
	if err != nil {
		tb.Fatalf("start a proxy for %s: %v", target, err)
	}
	w := &MongoWire{Addr: listener.Addr().String(), listener: listener, target: target, conns: map[net.Conn]struct{}{}}
	w.tasks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			w.tasks.Go(func() { w.serve(conn) })
		}
	})
	tb.Cleanup(w.close)
	return w
}

// MongoServer is the host:port of the stack's MongoDB.
func MongoServer(tb testing.TB) string {
	tb.Helper()
	server, err := parseMongoURL(Services(tb).MongoDB)
	if err != nil {
		tb.Fatalf("read the stack's MongoDB URL: %v", err)
	}
	return server.hosts
}

// Edit sets what changes the answers from now on; nil changes none.
func (w *MongoWire) Edit(edit MongoEdit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.edit = edit
}

// Commands are the commands with one of these names that clients have sent so far, in their order.
func (w *MongoWire) Commands(names ...string) []MongoCommand {
	w.mu.Lock()
	defer w.mu.Unlock()
	var sent []MongoCommand
	for _, c := range w.commands {
		for _, name := range names {
			if c.Name == name {
				sent = append(sent, c)
			}
		}
	}
	return sent
}

func (w *MongoWire) close() {
	_ = w.listener.Close()
	w.mu.Lock()
	w.closed = true
	for conn := range w.conns {
		_ = conn.Close()
	}
	w.mu.Unlock()
	w.tasks.Wait()
}

// hold keeps a connection, which ends with the proxy; false: the proxy has ended.
func (w *MongoWire) hold(conn net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		_ = conn.Close()
		return false
	}
	w.conns[conn] = struct{}{}
	return true
}

func (w *MongoWire) drop(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, conn)
	_ = conn.Close()
}

func (w *MongoWire) serve(client net.Conn) {
	if !w.hold(client) {
		return
	}
	defer w.drop(client)
	server, err := net.DialTimeout("tcp", w.target, patience)
	if err != nil || !w.hold(server) {
		return
	}
	defer w.drop(server)
	for w.exchange(client, server) == nil {
	}
}

// exchange passes one command and its answer. Drivers send the next command after that.
func (w *MongoWire) exchange(client, server net.Conn) error {
	message, err := readMessage(client)
	if err != nil {
		return err
	}
	command, err := message.document()
	if err != nil {
		return err
	}
	sent := MongoCommand{Name: command.Index(0).Key(), Body: command}
	w.mu.Lock()
	w.commands = append(w.commands, sent)
	edit := w.edit
	w.mu.Unlock()
	if _, err := server.Write(message); err != nil {
		return err
	}
	answer, err := readMessage(server)
	if err != nil {
		return err
	}
	if edit == nil {
		_, err = client.Write(answer)
		return err
	}
	raw, err := answer.document()
	if err != nil {
		return err
	}
	var reply bson.D
	if err := bson.Unmarshal(raw, &reply); err != nil {
		return err
	}
	changed, err := bson.Marshal(edit(sent, reply))
	if err != nil {
		return err
	}
	_, err = client.Write(answer.with(changed))
	return err
}

// mongoMessage is one message of the protocol: a header of its length, its number, the number of the message that it
// answers and its code, and what the code says.
// https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
type mongoMessage []byte

const (
	headerLength  = 16
	longestMongo  = 48_000_000 // the protocol's own limit
	replyPreamble = 20         // of a legacy answer: flags, cursor, start, number

	opReply = 1
	opQuery = 2004 // the legacy form, in which clients say their first hello
	opMsg   = 2013
)

func readMessage(from io.Reader) (mongoMessage, error) {
	header := make([]byte, headerLength)
	if _, err := io.ReadFull(from, header); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(header)
	if length < headerLength || length > longestMongo {
		return nil, fmt.Errorf("a message of %d bytes", length)
	}
	m := make(mongoMessage, length)
	copy(m, header)
	_, err := io.ReadFull(from, m[headerLength:])
	return m, err
}

func (m mongoMessage) code() uint32 { return binary.LittleEndian.Uint32(m[12:]) }

// document is the command or the answer that the message carries.
func (m mongoMessage) document() (bson.Raw, error) {
	body := bytes.NewBuffer(m[headerLength:])
	switch m.code() {
	case opMsg:
		body.Next(4) // flags
		for body.Len() > 4 && body.Bytes()[0] != 0 {
			body.Next(1 + int(binary.LittleEndian.Uint32(body.Bytes()[1:]))) // a section of several documents
		}
		body.Next(1)
	case opQuery:
		body.Next(4)             // flags
		_, _ = body.ReadBytes(0) // the collection's name
		body.Next(8)             // how many to skip, how many to return
	case opReply:
		body.Next(replyPreamble)
	}
	document, _, ok := bsoncore.ReadDocument(body.Bytes())
	if !ok {
		return nil, fmt.Errorf("a message of code %d without a document", m.code())
	}
	return bson.Raw(document), nil
}

// with is the same answer with another document.
func (m mongoMessage) with(document []byte) []byte {
	changed := append([]byte(nil), m[:headerLength]...)
	if m.code() == opReply {
		changed = append(changed, m[headerLength:headerLength+replyPreamble]...)
	} else {
		changed = append(changed, 0, 0, 0, 0, 0) // no flags, and the kind of a section of one document
	}
	changed = append(changed, document...)
	binary.LittleEndian.PutUint32(changed, uint32(len(changed)))
	return changed
}
