package stack

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strconv"
	"strings"
)

// pingMongoDB logs in to a MongoDB-protocol server with SCRAM-SHA-256 (RFC 5802, RFC 7677) and sends a ping, the
// smallest proof that the server serves authenticated requests. It is no client for anything else.
func pingMongoDB(ctx context.Context, address string, login credentials) error {
	conn, err := dial(ctx, address)
	if err != nil {
		return fmt.Errorf("log in to MongoDB: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := scram(conn, login); err != nil {
		return fmt.Errorf("log in to MongoDB: %w", err)
	}
	if _, err := mongoCommand(conn, bsonField{"ping", int32(1)}); err != nil {
		return fmt.Errorf("ping MongoDB: %w", err)
	}
	return nil
}

// scram is the conversation of RFC 5802, section 5, without channel binding, inside saslStart and saslContinue.
func scram(conn net.Conn, login credentials) error {
	nonce := rand.Text()
	first := "n=" + login.User + ",r=" + nonce
	reply, err := mongoCommand(conn, bsonField{"saslStart", int32(1)}, bsonField{"mechanism", "SCRAM-SHA-256"},
		bsonField{"payload", []byte("n,," + first)}, bsonField{"options", bsonDoc(bsonField{"skipEmptyExchange", true})})
	if err != nil {
		return err
	}
	challenge, _ := reply["payload"].([]byte)
	serverNonce, salt, rounds, err := parseChallenge(string(challenge), nonce)
	if err != nil {
		return err
	}
	salted, err := pbkdf2.Key(sha256.New, login.Password, salt, rounds, sha256.Size)
	if err != nil {
		return fmt.Errorf("derive the key: %w", err)
	}
	final := "c=biws,r=" + serverNonce // biws: base64 of "n,,"
	message := first + "," + string(challenge) + "," + final
	clientKey := hmacSHA256(salted, "Client Key")
	storedKey := sha256.Sum256(clientKey)
	proof := hmacSHA256(storedKey[:], message)
	for i := range proof {
		proof[i] ^= clientKey[i]
	}
	final += ",p=" + base64.StdEncoding.EncodeToString(proof)
	reply, err = mongoCommand(conn, bsonField{"saslContinue", int32(1)},
		bsonField{"conversationId", reply["conversationId"]}, bsonField{"payload", []byte(final)})
	if err != nil {
		return err
	}
	signature := base64.StdEncoding.EncodeToString(hmacSHA256(hmacSHA256(salted, "Server Key"), message))
	if outcome, _ := reply["payload"].([]byte); string(outcome) != "v="+signature {
		return errors.New("the server does not know the password either")
	}
	if done, _ := reply["done"].(bool); !done {
		_, err = mongoCommand(conn, bsonField{"saslContinue", int32(1)},
			bsonField{"conversationId", reply["conversationId"]}, bsonField{"payload", []byte{}})
	}
	return err
}

func hmacSHA256(key []byte, message string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(message))
	return mac.Sum(nil)
}

// parseChallenge takes the server's first message, "r=nonce,s=salt,i=rounds", apart.
func parseChallenge(challenge, clientNonce string) (nonce string, salt []byte, rounds int, err error) {
	for part := range strings.SplitSeq(challenge, ",") {
		switch key, value, _ := strings.Cut(part, "="); key {
		case "r":
			nonce = value
		case "s":
			salt, err = base64.StdEncoding.DecodeString(value)
		case "i":
			rounds, err = strconv.Atoi(value)
		}
		if err != nil {
			return "", nil, 0, fmt.Errorf("the server's challenge %q: %w", challenge, err)
		}
	}
	if !strings.HasPrefix(nonce, clientNonce) || len(salt) == 0 || rounds < 1 {
		return "", nil, 0, fmt.Errorf("the server's challenge %q is not one", challenge)
	}
	return nonce, salt, rounds, nil
}

// mongoCommand sends a command to database admin in one OP_MSG message and returns the reply's fields. A reply that
// is not ok is an error.
func mongoCommand(conn net.Conn, fields ...bsonField) (map[string]any, error) {
	const opMsg = 2013
	document := bsonDoc(append(fields, bsonField{"$db", "admin"})...)
	message := binary.LittleEndian.AppendUint32(nil, uint32(16+4+1+len(document))) // whole length
	message = binary.LittleEndian.AppendUint32(message, 1)                         // request id
	message = binary.LittleEndian.AppendUint32(message, 0)                         // in response to
	message = binary.LittleEndian.AppendUint32(message, opMsg)
	message = append(message, 0, 0, 0, 0, 0) // flags, then a section of kind 0: one document
	message = append(message, document...)
	if _, err := conn.Write(message); err != nil {
		return nil, err
	}
	var header [16]byte
	if _, err := io.ReadFull(conn, header[:]); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(header[:])
	if operation := binary.LittleEndian.Uint32(header[12:]); operation != opMsg || length < 26 || length > 1<<20 {
		return nil, fmt.Errorf("unexpected reply: operation %d, %d bytes", operation, length)
	}
	body := make([]byte, length-16)
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, err
	}
	reply, err := parseBSON(body[5:])
	if err != nil {
		return nil, err
	}
	if ok := reply["ok"]; ok != float64(1) && ok != int32(1) {
		return nil, fmt.Errorf("the server refuses %s: %v", fields[0].name, reply["errmsg"])
	}
	return reply, nil
}

// bsonField is a field of a BSON document: its value is a string, int32, bool, []byte or bsonDocument.
type bsonField struct {
	name  string
	value any
}

type bsonDocument []byte

func bsonDoc(fields ...bsonField) bsonDocument {
	doc := make([]byte, 4)
	for _, field := range fields {
		kind := len(doc)
		doc = append(doc, 0)
		doc = append(append(doc, field.name...), 0)
		switch value := field.value.(type) {
		case string:
			doc[kind] = 0x02
			doc = binary.LittleEndian.AppendUint32(doc, uint32(len(value)+1))
			doc = append(append(doc, value...), 0)
		case bsonDocument:
			doc[kind] = 0x03
			doc = append(doc, value...)
		case []byte:
			doc[kind] = 0x05
			doc = binary.LittleEndian.AppendUint32(doc, uint32(len(value)))
			doc = append(append(doc, 0), value...) // subtype 0: generic
		case bool:
			doc[kind] = 0x08
			doc = append(doc, map[bool]byte{true: 1}[value])
		case int32:
			doc[kind] = 0x10
			doc = binary.LittleEndian.AppendUint32(doc, uint32(value))
		default:
			doc[kind] = 0x0a // null
		}
	}
	doc = append(doc, 0)
	binary.LittleEndian.PutUint32(doc, uint32(len(doc)))
	return doc
}

var errBSON = errors.New("the server's reply is not a BSON document of the expected types")

// parseBSON returns a document's top-level fields. Values of types that logging in does not need are left out.
func parseBSON(doc []byte) (map[string]any, error) {
	if len(doc) < 5 {
		return nil, errBSON
	}
	length := int(binary.LittleEndian.Uint32(doc))
	if length < 5 || length > len(doc) {
		return nil, errBSON
	}
	rest := doc[4:length]
	fields := map[string]any{}
	for len(rest) > 0 && rest[0] != 0 {
		kind := rest[0]
		name, after, found := strings.Cut(string(rest[1:]), "\x00")
		if !found {
			return nil, errBSON
		}
		rest = []byte(after)
		size, err := bsonSize(kind, rest)
		if err != nil {
			return nil, err
		}
		value := rest[:size]
		switch kind {
		case 0x01:
			fields[name] = math.Float64frombits(binary.LittleEndian.Uint64(value))
		case 0x02:
			fields[name] = string(value[4 : size-1])
		case 0x05:
			fields[name] = value[5:]
		case 0x08:
			fields[name] = value[0] == 1
		case 0x10:
			fields[name] = int32(binary.LittleEndian.Uint32(value))
		}
		rest = rest[size:]
	}
	return fields, nil
}

// bsonSize returns the size of a value of the given type at the start of rest (bsonspec.org, version 1.1).
func bsonSize(kind byte, rest []byte) (int, error) {
	size := 0
	switch kind {
	case 0x01, 0x09, 0x11, 0x12: // double, date, timestamp, int64
		size = 8
	case 0x08: // bool
		size = 1
	case 0x0a: // null
	case 0x10: // int32
		size = 4
	case 0x02, 0x03, 0x04, 0x05: // string, document, array, binary: these begin with their length
		if len(rest) < 5 {
			return 0, errBSON
		}
		size = int(binary.LittleEndian.Uint32(rest))
		switch kind {
		case 0x02: // the length counts the closing zero byte, not itself
			size += 4
		case 0x05: // the length counts neither itself nor the subtype
			size += 5
		}
		if size < 5 { // less than the smallest of each: "" is 5 bytes, as are {} and an empty binary
			return 0, errBSON
		}
	default:
		return 0, errBSON
	}
	if size > len(rest) {
		return 0, errBSON
	}
	return size, nil
}
