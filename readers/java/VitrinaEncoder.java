import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.BitSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.zip.DataFormatException;
import java.util.zip.Inflater;

/**
 * Reads an encoder that vitrina saved, and computes the vectors of titles.
 *
 * <p>The vectors are equal to vitrina's to the last bit. The file follows docs/format.md of vitrina
 * section by section. It needs Java 17 or newer and no library. An object never changes, so any
 * number of threads may share it.
 *
 * <pre>
 *   java VitrinaEncoder.java check FOLDER               compare with the folder's golden vectors
 *   java VitrinaEncoder.java encode FOLDER TITLES OUT   titles, a line each, to float32 vectors
 *   java VitrinaEncoder.java time FOLDER TITLES         measure the rate of one thread
 * </pre>
 */
public final class VitrinaEncoder {
    private static final int NEWEST_FORMAT = 2;
    private static final int PAD = 0;
    private static final int MIN_PIECES = 5;
    private static final int[] WIDTHS = {2, 3, 4, 5};
    private static final int BLOCKS = 14;

    private final Normalizer normalizer;
    private final Unigram unigram;
    private final Table table;
    private final WordVectors wordVectors; // null if the vectors have no lexical part
    private final float contextualLength; // 0 leaves the contextual part as it is
    private final float lexicalLength;
    private final WordCache cache;
    private final ThreadLocal<Scratch> scratch;

    private VitrinaEncoder(
            Normalizer normalizer,
            Unigram unigram,
            Table table,
            WordVectors wordVectors,
            double lexicalWeight) {
        this.normalizer = normalizer;
        this.unigram = unigram;
        this.table = table;
        this.wordVectors = wordVectors;
        double both = Math.sqrt(1 + lexicalWeight * lexicalWeight);
        this.contextualLength = wordVectors == null ? 0 : (float) (1 / both);
        this.lexicalLength = (float) (lexicalWeight / both);
        this.cache = new WordCache(lexicalDim());
        this.scratch = ThreadLocal.withInitial(() -> new Scratch(table.groups, lexicalDim()));
    }

    /**
     * Loads the encoder that vitrina saved in a folder.
     *
     * @throws FormatException if the folder is incomplete, damaged or of a newer format; it has a
     *     message of one line
     * @throws IOException if a file can't be read
     */
    public static VitrinaEncoder load(Path folder) throws IOException {
        return new SavedFolder(folder).encoder();
    }

    /** The number of dimensions of a vector. */
    public int width() {
        return table.bias.length + lexicalDim();
    }

    /** Computes the vector of a title; null stands for the empty title. */
    public float[] encode(String title) {
        float[] vector = new float[width()];
        encode(title, vector, 0);
        return vector;
    }

    /** Computes the vector of a title, and writes it to {@code out} from a place on. */
    public void encode(String title, float[] out, int from) {
        Scratch work = scratch.get();
        findWords(title == null ? "" : title, work);
        table.encode(work, out, from);
        if (contextualLength > 0) {
            scaleToLength(out, from, table.bias.length, contextualLength);
        }
        if (wordVectors != null) {
            Arrays.fill(out, from + table.bias.length, from + width(), 0);
            addWordVectors(work, out, from + table.bias.length);
            scaleToLength(out, from + table.bias.length, wordVectors.dim, lexicalLength);
        }
    }

    /** Returns the ids of a title's pieces, at least 5. */
    public int[] pieces(String title) {
        Scratch work = scratch.get();
        findWords(title == null ? "" : title, work);
        return Arrays.copyOf(work.pieces, work.pieceCount);
    }

    /** Returns the normal form of a title. */
    public String normalForm(String title) {
        List<String> forms = new ArrayList<>();
        Scratch work = scratch.get();
        findWords(title == null ? "" : title, work);
        for (int i = 0; i < work.wordCount; i++) {
            if (!work.words[i].form.isEmpty()) {
                forms.add(work.words[i].form);
            }
        }
        return String.join(" ", forms);
    }

    private int lexicalDim() {
        return wordVectors == null ? 0 : wordVectors.dim;
    }

    /** Finds the words of a title, and collects their pieces. */
    private void findWords(String title, Scratch work) {
        work.clear();
        int at = 0;
        int stop = title.length();
        while (true) {
            while (at < stop && isSpace(title.charAt(at))) {
                at++;
            }
            if (at == stop) {
                break;
            }
            int start = at;
            int hash = 0;
            while (at < stop && !isSpace(title.charAt(at))) {
                hash = 31 * hash + title.charAt(at);
                at++;
            }
            Word word = cache.find(title, start, at, hash);
            if (word == null) {
                word = newWord(title.substring(start, at));
                cache.store(word, hash);
            }
            work.add(word);
        }
        while (work.pieceCount < MIN_PIECES) {
            work.pieces[work.pieceCount++] = PAD;
        }
    }

    /** The characters that separate the words of a title; the normal form handles other ones. */
    private static boolean isSpace(char letter) {
        return letter == ' ' || letter >= 9 && letter <= 13;
    }

    private Word newWord(String raw) {
        String form = normalizer.form(raw);
        Ints pieces = new Ints();
        for (String part : form.split(" ")) {
            if (!part.isEmpty()) {
                unigram.encode(part, pieces);
            }
        }
        short[] vector = wordVectors == null ? null : wordVectors.of(form);
        return new Word(raw, form, pieces.toArray(), vector);
    }

    /** Adds the vectors of a title's words: four at a time in integers, the sums in floats. */
    private static void addWordVectors(Scratch work, float[] out, int from) {
        Word[] words = work.words;
        int place = 0;
        for (; place + 4 <= work.wordCount; place += 4) {
            Word a = words[place];
            Word b = words[place + 1];
            Word c = words[place + 2];
            Word d = words[place + 3];
            if (a.isSmall && b.isSmall && c.isSmall && d.isSmall) {
                addSmall(a.vector, b.vector, c.vector, d.vector, work.sums);
                addOne(work.sums, out, from);
            } else {
                addFour(a.vector, b.vector, c.vector, d.vector, out, from);
            }
        }
        for (; place < work.wordCount; place++) {
            addOne(words[place].vector, out, from);
        }
    }

    /** The sum of four vectors that can't overflow; Java's compiler vectorises it. */
    private static void addSmall(short[] a, short[] b, short[] c, short[] d, short[] sums) {
        for (int i = 0; i < sums.length; i++) {
            sums[i] = (short) (a[i] + b[i] + c[i] + d[i]);
        }
    }

    private static void addFour(short[] a, short[] b, short[] c, short[] d, float[] out, int from) {
        for (int i = 0; i < a.length; i++) {
            out[from + i] += (float) (a[i] + b[i] + (c[i] + d[i]));
        }
    }

    private static void addOne(short[] vector, float[] out, int from) {
        for (int i = 0; i < vector.length; i++) {
            out[from + i] += vector[i];
        }
    }

    /** Scales a part of a vector to a length; zeros stay as they are. */
    static void scaleToLength(float[] vector, int from, int dim, float length) {
        // 16 partial sums, so that vitrina's compiled code can add them side by side
        float[] parts = new float[16];
        for (int start = 0; start < dim; start += 16) {
            int columns = Math.min(16, dim - start);
            for (int i = 0; i < columns; i++) {
                float value = vector[from + start + i];
                parts[i] += value * value;
            }
        }
        float squared = 0;
        for (float part : parts) {
            squared += part;
        }
        if (squared > 0) {
            float factor = length / (float) Math.sqrt(squared);
            for (int i = 0; i < dim; i++) {
                vector[from + i] *= factor;
            }
        }
    }

    /** What a thread needs while it encodes a title. */
    private static final class Scratch {
        Word[] words = new Word[32];
        int wordCount;
        int[] pieces = new int[128];
        int pieceCount;
        final short[] sums;
        long fetched;
        // one width: the numbers of the windows' pieces at each position, and the windows' sums
        final long[][] blocks;
        final long[] even;
        final long[] odd;
        final long[] half;

        Scratch(int groups, int lexicalDim) {
            sums = new short[lexicalDim];
            blocks = new long[MIN_PIECES][Table.WINDOWS * groups];
            even = new long[Table.WINDOWS * groups];
            odd = new long[Table.WINDOWS * groups];
            half = new long[Table.WINDOWS * groups];
        }

        void clear() {
            // a very long title must not hold its memory for ever
            if (words.length > 4096 || pieces.length > 16384) {
                words = new Word[32];
                pieces = new int[128];
            }
            wordCount = 0;
            pieceCount = 0;
        }

        void add(Word word) {
            if (wordCount == words.length) {
                words = Arrays.copyOf(words, 2 * wordCount);
            }
            words[wordCount++] = word;
            int count = pieceCount + word.pieces.length;
            if (count + MIN_PIECES > pieces.length) {
                pieces = Arrays.copyOf(pieces, 2 * count + MIN_PIECES);
            }
            for (int piece : word.pieces) {
                pieces[pieceCount++] = piece;
            }
        }
    }

    /** A word as it stands in titles, and what belongs to it. */
    private static final class Word {
        final String raw;
        final String form;
        final int[] pieces;
        final short[] vector;
        final boolean isSmall; // whether the sum of four such vectors fits into 16 bits

        Word(String raw, String form, int[] pieces, short[] vector) {
            this.raw = raw;
            this.form = form;
            this.pieces = pieces;
            this.vector = vector;
            boolean small = vector != null;
            for (int i = 0; small && i < vector.length; i++) {
                small = Math.abs(vector[i]) <= Short.MAX_VALUE / 4;
            }
            this.isSmall = small;
        }
    }

    /**
     * Words that were seen before; with their vectors, at most 256 MiB.
     *
     * <p>No locks: a word is complete once its reference can be read, because its fields are final.
     * Threads that store at the same time may lose a word, which is then computed again.
     */
    private static final class WordCache {
        private static final int PROBES = 16;
        private static final int LONGEST = 64;
        private final Word[] places;
        private int replaced;

        WordCache(int dim) {
            int most = Math.min(1 << 19, (1 << 27) / Math.max(1, dim));
            places = new Word[Integer.highestOneBit(most)];
        }

        private int place(int hash, int probe) {
            int mixed = hash * 0x9E3779B9;
            return (mixed ^ mixed >>> 15) + probe & places.length - 1;
        }

        Word find(String title, int start, int stop, int hash) {
            for (int probe = 0; probe < PROBES; probe++) {
                Word word = places[place(hash, probe)];
                if (word == null) {
                    return null;
                }
                if (word.raw.length() == stop - start
                        && title.regionMatches(start, word.raw, 0, stop - start)) {
                    return word;
                }
            }
            return null;
        }

        void store(Word word, int hash) {
            if (word.raw.length() > LONGEST) {
                return;
            }
            int probe = 0;
            while (probe < PROBES && places[place(hash, probe)] != null) {
                probe++;
            }
            // without a free place, one of the others is taken in turn
            places[place(hash, probe < PROBES ? probe : replaced++ & PROBES - 1)] = word;
        }
    }

    /** The table of the convolutions, see "The contextual part" in docs/format.md. */
    private static final class Table {
        // Each long holds the numbers of 8 filters, from 0 to 255 instead of from -128 to 127. Two
        // longs of four lanes with 16 bits hold the sums of their windows: the even filters, and
        // the odd ones.
        private static final long LANES = 0x00FF00FF00FF00FFL;
        private static final long TOP_BITS = 0x8000800080008000L;
        static final int WINDOWS = 64; // windows that are summed side by side
        final int filters;
        final int groups;
        final int row;
        final long[] values;
        final float[] scale;
        final float[] bias;

        Table(ByteBuffer bytes, int pieces, int filters, float[] scale, float[] bias) {
            this.filters = filters;
            this.groups = (filters + 7) / 8;
            this.row = BLOCKS * groups;
            this.scale = scale;
            this.bias = bias;
            this.values = new long[pieces * row];
            byte[] block = new byte[8 * groups];
            ByteBuffer longs = ByteBuffer.wrap(block).order(ByteOrder.LITTLE_ENDIAN);
            for (int at = 0; at < values.length; at += groups) {
                bytes.get(block, 0, filters);
                for (int group = 0; group < groups; group++) {
                    values[at + group] = longs.getLong(8 * group) ^ 0x8080808080808080L;
                }
            }
        }

        void encode(Scratch work, float[] out, int from) {
            fetch(work);
            int block = 0;
            for (int k = 0; k < WIDTHS.length; k++) {
                int windows = work.pieceCount - WIDTHS[k] + 1;
                sumWindows(work, k, block, 0, Math.min(windows, WINDOWS));
                if (windows > WINDOWS) {
                    sumFurther(work, k, block, windows);
                }
                finish(work.even, work.odd, k, out, from);
                block += WIDTHS[k];
            }
        }

        /**
         * Reads a number of each cache line of the rows. The processor fetches these lines side by
         * side; the sums would wait for one after the other.
         */
        private void fetch(Scratch work) {
            long all = 0;
            for (int w = 0; w < work.pieceCount; w++) {
                int first = work.pieces[w] * row;
                for (int i = 0; i < row; i += 8) {
                    all ^= values[first + i];
                }
            }
            work.fetched = all; // otherwise the compiler would leave the loop out
        }

        /** Finds the largest of more windows than the working memory holds. */
        private void sumFurther(Scratch work, int k, int block, int windows) {
            long[] even = Arrays.copyOf(work.even, groups);
            long[] odd = Arrays.copyOf(work.odd, groups);
            for (int start = WINDOWS; start < windows; start += WINDOWS) {
                sumWindows(work, k, block, start, Math.min(windows - start, WINDOWS));
                keepLarger(even, work.even, groups);
                keepLarger(odd, work.odd, groups);
            }
            System.arraycopy(even, 0, work.even, 0, groups);
            System.arraycopy(odd, 0, work.odd, 0, groups);
        }

        /** Sums the windows of one width, and leaves the largest in `even` and `odd`. */
        private void sumWindows(Scratch work, int k, int block, int start, int windows) {
            // Java's compiler vectorises loops over several arrays only if they share the index, so
            // the numbers of all windows are copied side by side
            for (int position = 0; position < WIDTHS[k]; position++) {
                int column = (block + position) * groups;
                for (int w = 0; w < windows; w++) {
                    int first = work.pieces[start + w + position] * row + column;
                    System.arraycopy(values, first, work.blocks[position], w * groups, groups);
                }
            }
            long[][] b = work.blocks;
            int n = windows * groups;
            switch (WIDTHS[k]) {
                case 2 -> sum2(b[0], b[1], n, work);
                case 3 -> sum3(b[0], b[1], b[2], n, work);
                case 4 -> sum4(b[0], b[1], b[2], b[3], n, work);
                default -> sum5(b[0], b[1], b[2], b[3], b[4], n, work);
            }
            keepLargest(work.even, windows, work.half);
            keepLargest(work.odd, windows, work.half);
        }

        /** Leaves the largest sum of all windows at the place of the first. */
        private void keepLargest(long[] sums, int windows, long[] half) {
            int left = windows;
            while (left > 1) {
                int first = (left + 1) / 2; // these stay, and the others are compared with them
                int n = (left - first) * groups;
                System.arraycopy(sums, first * groups, half, 0, n);
                keepLarger(sums, half, n);
                left = first;
            }
        }

        private static void keepLarger(long[] kept, long[] others, int n) {
            for (int i = 0; i < n; i++) {
                kept[i] = larger(others[i], kept[i]);
            }
        }

        private static void sum2(long[] a, long[] b, int n, Scratch work) {
            long[] even = work.even;
            long[] odd = work.odd;
            for (int i = 0; i < n; i++) {
                even[i] = (a[i] & LANES) + (b[i] & LANES);
                odd[i] = (a[i] >>> 8 & LANES) + (b[i] >>> 8 & LANES);
            }
        }

        private static void sum3(long[] a, long[] b, long[] c, int n, Scratch work) {
            long[] even = work.even;
            long[] odd = work.odd;
            for (int i = 0; i < n; i++) {
                even[i] = (a[i] & LANES) + (b[i] & LANES) + (c[i] & LANES);
                odd[i] = (a[i] >>> 8 & LANES) + (b[i] >>> 8 & LANES) + (c[i] >>> 8 & LANES);
            }
        }

        private static void sum4(long[] a, long[] b, long[] c, long[] d, int n, Scratch work) {
            long[] even = work.even;
            long[] odd = work.odd;
            for (int i = 0; i < n; i++) {
                even[i] = (a[i] & LANES) + (b[i] & LANES) + (c[i] & LANES) + (d[i] & LANES);
                odd[i] =
                        (a[i] >>> 8 & LANES)
                                + (b[i] >>> 8 & LANES)
                                + (c[i] >>> 8 & LANES)
                                + (d[i] >>> 8 & LANES);
            }
        }

        private static void sum5(
                long[] a, long[] b, long[] c, long[] d, long[] e, int n, Scratch work) {
            long[] even = work.even;
            long[] odd = work.odd;
            for (int i = 0; i < n; i++) {
                even[i] =
                        (a[i] & LANES)
                                + (b[i] & LANES)
                                + (c[i] & LANES)
                                + (d[i] & LANES)
                                + (e[i] & LANES);
                odd[i] =
                        (a[i] >>> 8 & LANES)
                                + (b[i] >>> 8 & LANES)
                                + (c[i] >>> 8 & LANES)
                                + (d[i] >>> 8 & LANES)
                                + (e[i] >>> 8 & LANES);
            }
        }

        /** The larger number of each lane; all numbers are below 2^15. */
        private static long larger(long a, long b) {
            // a lane keeps its highest bit where a is not smaller, and then holds a - b below it
            long difference = (a | TOP_BITS) - b;
            long kept = difference & TOP_BITS;
            return b + (difference & kept - (kept >>> 15));
        }

        /** Applies scale, bias and ReLU to the largest windows of one width. */
        private void finish(long[] even, long[] odd, int width, float[] out, int from) {
            int shift = 128 * WIDTHS[width];
            int first = width * filters;
            for (int f = 0; f < filters; f++) {
                long lanes = (f & 1) == 0 ? even[f >> 3] : odd[f >> 3];
                int sum = (int) (lanes >>> 16 * (f >> 1 & 3) & 0xFFFF) - shift;
                float value = sum * scale[first + f] + bias[first + f];
                out[from + first + f] = value > 0 ? value : 0;
            }
        }
    }

    /** The vectors of words, see "The lexical part" in docs/format.md. */
    private static final class WordVectors {
        private static final long START = 0xCBF29CE484222325L;
        private static final long PRIME = 1099511628211L;
        private static final int NGRAM_BIT = 1 << 31;
        final int dim;
        private final int[] hashes; // with the highest bit flipped, so that they are increasing
        private final byte[] rows;
        private final float[] scale;

        WordVectors(int[] hashes, byte[] rows, float[] scale, int dim) throws FormatException {
            this.hashes = hashes;
            this.rows = rows;
            this.scale = scale;
            this.dim = dim;
            for (int i = 0; i < hashes.length; i++) {
                hashes[i] ^= NGRAM_BIT;
                if (i > 0 && hashes[i] <= hashes[i - 1]) {
                    throw new FormatException(
                            "lexical.safetensors: hashes are not in increasing order");
                }
            }
        }

        /** The sum over the words and n-grams of a normal form. */
        short[] of(String form) {
            byte[] text = form.getBytes(StandardCharsets.UTF_8);
            float[] total = new float[dim];
            int start = 0;
            for (int stop = 0; stop <= text.length; stop++) {
                if (stop < text.length && text[stop] != ' ') {
                    continue;
                }
                if (stop > start) {
                    addWord(text, start, stop, total);
                }
                start = stop + 1;
            }
            short[] out = new short[dim];
            for (int i = 0; i < dim; i++) {
                out[i] = (short) Math.rint(Math.min(Math.max(total[i], -32767f), 32767f));
            }
            return out;
        }

        private void addWord(byte[] text, int start, int stop, float[] total) {
            long hash = START;
            for (int at = start; at < stop; at++) {
                hash = (hash ^ text[at] & 0xFF) * PRIME;
            }
            addFeature(shortened(hash), total);
            // the n-grams of 2 to 5 bytes; the word has a space before and after it
            for (int first = start - 1; first < stop; first++) {
                hash = START;
                for (int at = first; at < Math.min(first + 5, stop + 1); at++) {
                    int letter = at >= start && at < stop ? text[at] & 0xFF : ' ';
                    hash = (hash ^ letter) * PRIME;
                    if (at > first) {
                        addFeature(shortened(hash) | NGRAM_BIT, total);
                    }
                }
            }
        }

        private static int shortened(long hash) {
            return (int) (hash ^ hash >>> 33) & 0x7FFFFFFF;
        }

        private void addFeature(int hash, float[] total) {
            int place = Arrays.binarySearch(hashes, hash ^ NGRAM_BIT);
            if (place < 0) {
                return;
            }
            float factor = scale[place];
            int row = place * dim;
            for (int i = 0; i < dim; i++) {
                total[i] += factor * rows[row + i];
            }
        }
    }

    /** The pieces of words, see "Pieces" in docs/format.md. */
    private static final class Unigram {
        private static final int NORMAL = 1;
        private static final int UNKNOWN = 2;
        private static final int CONTROL = 3;
        private static final float UNKNOWN_PENALTY = 10;
        final int size;
        private int unknown = -1;
        private float unknownScore;
        private float[] scores = new float[1024];
        // the nodes below a node of the prefix tree, by the node's number and a character
        private final LongMap below = new LongMap();
        private final Ints pieceOfNode = new Ints(); // -1 if no piece ends at the node

        Unigram(byte[] model) throws FormatException {
            pieceOfNode.add(-1);
            float smallest = Float.MAX_VALUE;
            int count = 0;
            Protobuf fields = new Protobuf(model);
            while (fields.next()) {
                if (fields.number == 1) {
                    float score = addPiece(new Protobuf(fields.bytes()), count++);
                    smallest = Math.min(smallest, score);
                } else if (fields.number == 2) {
                    checkTrainer(new Protobuf(fields.bytes()));
                } else if (fields.number == 3) {
                    checkNormalizer(new Protobuf(fields.bytes()));
                }
            }
            if (unknown < 0) {
                throw new FormatException("tokenizer.model: has no piece for unknown characters");
            }
            size = count;
            unknownScore = smallest - UNKNOWN_PENALTY;
        }

        /** Adds a piece; returns its score, or the largest float for a piece that is no text. */
        private float addPiece(Protobuf fields, int id) throws FormatException {
            byte[] text = {};
            float score = 0;
            int type = NORMAL;
            while (fields.next()) {
                if (fields.number == 1) {
                    text = fields.bytes();
                } else if (fields.number == 2) {
                    score = Float.intBitsToFloat((int) fields.value);
                } else if (fields.number == 3) {
                    type = (int) fields.value;
                }
            }
            if (type == UNKNOWN) {
                unknown = id;
            }
            if (type == UNKNOWN || type == CONTROL) {
                return Float.MAX_VALUE;
            }
            if (type != NORMAL || !Float.isFinite(score)) {
                throw new FormatException("tokenizer.model: has a piece of a kind not supported");
            }
            int node = 0;
            for (int letter : decoded(text, "tokenizer.model").codePoints().toArray()) {
                long key = key(node, letter);
                node = below.get(key);
                if (node < 0) {
                    node = pieceOfNode.size;
                    below.put(key, node);
                    pieceOfNode.add(-1);
                }
            }
            pieceOfNode.values[node] = id;
            if (id >= scores.length) {
                scores = Arrays.copyOf(scores, 2 * id);
            }
            scores[id] = score;
            return score;
        }

        private static void checkTrainer(Protobuf fields) throws FormatException {
            while (fields.next()) {
                boolean isUnigram = fields.number != 3 || (int) fields.value == 1;
                boolean isSuffix = fields.number == 24 && fields.value != 0;
                boolean hasBytes = fields.number == 35 && fields.value != 0;
                if (!isUnigram || isSuffix || hasBytes) {
                    throw new FormatException("tokenizer.model: is no unigram model of vitrina");
                }
            }
        }

        private static void checkNormalizer(Protobuf fields) throws FormatException {
            while (fields.next()) {
                boolean hasMap = fields.number == 2 && fields.bytes().length > 0;
                boolean isOff = fields.number >= 3 && fields.number <= 5 && fields.value == 0;
                if (hasMap || isOff) {
                    throw new FormatException("tokenizer.model: has a normalisation of its own");
                }
            }
        }

        private static long key(int node, int letter) {
            return (long) node << 21 | letter;
        }

        /** Appends the ids of a word's pieces: the Viterbi search in single precision. */
        void encode(String word, Ints out) {
            int[] text = ("\u2581" + word).codePoints().toArray();
            float[] best = new float[text.length + 1];
            int[] start = new int[text.length + 1];
            int[] piece = new int[text.length + 1];
            Arrays.fill(start, -1);
            for (int from = 0; from < text.length; from++) {
                boolean single = false;
                int node = 0;
                for (int at = from; at < text.length; at++) {
                    node = below.get(key(node, text[at]));
                    if (node < 0) {
                        break;
                    }
                    int id = pieceOfNode.values[node];
                    if (id < 0) {
                        continue;
                    }
                    float score = scores[id] + best[from];
                    if (start[at + 1] < 0 || score > best[at + 1]) {
                        best[at + 1] = score;
                        start[at + 1] = from;
                        piece[at + 1] = id;
                    }
                    single |= at == from;
                }
                if (!single) {
                    float score = unknownScore + best[from];
                    if (start[from + 1] < 0 || score > best[from + 1]) {
                        best[from + 1] = score;
                        start[from + 1] = from;
                        piece[from + 1] = unknown;
                    }
                }
            }
            Ints reversed = new Ints();
            for (int end = text.length; end > 0; end = start[end]) {
                reversed.add(piece[end]);
            }
            for (int i = reversed.size - 1; i >= 0; i--) {
                int id = reversed.values[i];
                // a sequence of unknown characters is one piece
                if (id != unknown || i == reversed.size - 1 || reversed.values[i + 1] != unknown) {
                    out.add(id);
                }
            }
        }
    }

    /** The normal form of words, see "Normal form" in docs/format.md. */
    private static final class Normalizer {
        private static final int MAX_MARKS = 30;
        private final boolean isPaper;
        private final Set<String> stopWords;

        Normalizer(boolean isPaper, Set<String> stopWords) {
            this.isPaper = isPaper;
            this.stopWords = stopWords;
        }

        /** The normal forms of the parts of a word, which may hold white space beyond ASCII. */
        String form(String raw) {
            Ints part = new Ints();
            List<String> forms = new ArrayList<>();
            // a space ends the last part
            for (int letter : (raw + " ").codePoints().toArray()) {
                if (letter >= 0xD800 && letter < 0xE000) {
                    letter = '?'; // half a surrogate pair
                }
                if (!Unicode.isSpace(letter)) {
                    part.add(letter);
                } else if (part.size > 0) {
                    forms.add(formOfPart(part));
                    part = new Ints();
                }
            }
            return String.join(" ", forms);
        }

        private String formOfPart(Ints raw) {
            Ints text = raw;
            if (raw.isAscii()) {
                Unicode.lower(text);
            } else {
                text = limitedMarks(Unicode.decomposed(raw));
                Unicode.sortMarks(text);
                Unicode.lower(text);
                text = Unicode.composed(withoutAccents(text));
            }
            StringBuilder plain = new StringBuilder();
            for (int at = 0; at < text.size; at++) {
                int letter = text.values[at];
                if (Unicode.isKept(letter)) {
                    plain.appendCodePoint(letter);
                } else {
                    plain.append(isPoint(text, at) ? '.' : ' ');
                }
            }
            List<String> words = new ArrayList<>();
            for (String word : plain.toString().split(" ")) {
                if (!word.isEmpty() && !stopWords.contains(word)) {
                    words.add(word);
                }
            }
            return String.join(" ", words);
        }

        /** Drops the marks after the 30th of each sequence. */
        private static Ints limitedMarks(Ints text) {
            Ints out = new Ints();
            int marks = 0;
            for (int at = 0; at < text.size; at++) {
                marks = Unicode.combiningClass(text.values[at]) > 0 ? marks + 1 : 0;
                if (marks <= MAX_MARKS) {
                    out.add(text.values[at]);
                }
            }
            return out;
        }

        private Ints withoutAccents(Ints text) {
            Ints out = new Ints();
            for (int at = 0; at < text.size; at++) {
                int letter = text.values[at];
                int before = at > 0 ? text.values[at - 1] : -1;
                boolean isAccent = letter >= 0x300 && letter <= 0x36F;
                boolean isLetter = before == 'n' && letter == 0x303;
                isLetter |= before == '\u0438' && letter == 0x306;
                if (!isAccent || !isPaper && isLetter) {
                    out.add(letter);
                }
            }
            return out;
        }

        /** Whether a point or comma stands between two digits. */
        private boolean isPoint(Ints text, int at) {
            int letter = text.values[at];
            return !isPaper
                    && (letter == '.' || letter == ',')
                    && at > 0
                    && at + 1 < text.size
                    && Unicode.isDigit(text.values[at - 1])
                    && Unicode.isDigit(text.values[at + 1]);
        }
    }

    /** The folder of an encoder, checked against its manifest. */
    private static final class SavedFolder {
        private static final Set<String> FILES =
                Set.of(
                        "config.json",
                        "config_sentence_transformers.json",
                        "golden.json",
                        "lexical.safetensors",
                        "model.safetensors",
                        "modules.json",
                        "table.safetensors",
                        "tokenizer.model",
                        "training.jsonl");
        private final Path folder;
        private final Map<String, Object> listed;

        SavedFolder(Path folder) throws IOException {
            this.folder = folder;
            if (!Files.isRegularFile(folder.resolve("manifest.json"))) {
                throw new FormatException(folder + ": has no manifest.json, so it is no encoder");
            }
            byte[] bytes = Files.readAllBytes(folder.resolve("manifest.json"));
            Map<String, Object> manifest = Json.object(Json.parse(bytes, "manifest.json"));
            if (!"vitrina encoder".equals(manifest.get("kind"))) {
                throw new FormatException(folder + ": holds no vitrina encoder");
            }
            if (Json.integer(manifest.get("format_version"), 0, 1_000_000) > NEWEST_FORMAT) {
                throw new FormatException(folder + ": has a format that is newer than this reader");
            }
            listed = Json.object(manifest.get("files"));
            for (String name : listed.keySet()) {
                if (!FILES.contains(name)) {
                    throw new FormatException(folder + ": the manifest lists an unknown file");
                }
            }
        }

        /** The bytes of a file, which must have the size and the checksum of the manifest. */
        byte[] read(String name) throws IOException {
            if (!listed.containsKey(name)) {
                throw new FormatException(
                        folder.resolve(name) + ": is missing; save the encoder again with vitrina");
            }
            Map<String, Object> expected = Json.object(listed.get(name));
            Path path = folder.resolve(name);
            boolean isRegular = Files.isRegularFile(path, LinkOption.NOFOLLOW_LINKS);
            if (!isRegular || !((Object) Files.size(path)).equals(expected.get("bytes"))) {
                throw new FormatException(path + ": is missing or damaged; copy the folder again");
            }
            byte[] content = Files.readAllBytes(path);
            if (!sha256(content).equals(expected.get("sha256"))) {
                throw new FormatException(
                        path + ": is damaged (its checksum differs); copy the folder again");
            }
            return content;
        }

        VitrinaEncoder encoder() throws IOException {
            try {
                return checkedEncoder();
            } catch (FormatException error) {
                // the message names the folder, too
                String message = error.getMessage();
                String start = folder.toString();
                throw message.startsWith(start)
                        ? error
                        : new FormatException(folder.resolve(message).toString());
            }
        }

        private VitrinaEncoder checkedEncoder() throws IOException {
            for (String name : listed.keySet()) {
                if (name.equals("training.jsonl")) {
                    read(name); // vectors don't need it; a damaged copy is refused all the same
                }
            }
            byte[] settings = read("config.json");
            Map<String, Object> config = Json.object(Json.parse(settings, "config.json"));
            Map<String, Object> model = Json.object(config.get("model"));
            if (!List.of(2L, 3L, 4L, 5L).equals(model.get("widths"))) {
                throw new FormatException("config.json: has other widths than 2, 3, 4 and 5");
            }
            int dim = (int) Json.integer(model.get("dim"), 1, 16_384);
            int filters = (int) Json.integer(model.get("filters"), 1, 1_024);
            Unigram unigram = new Unigram(read("tokenizer.model"));

            Safetensors arrays = new Safetensors("model.safetensors", read("model.safetensors"));
            arrays.find("embeddings", "F32", 4, unigram.size, dim);
            float[] bias = arrays.floats("bias", 4 * filters);
            Safetensors stored = new Safetensors("table.safetensors", read("table.safetensors"));
            float[] scale = stored.floats("scale", 4 * filters);
            ByteBuffer values = stored.find("values", "I8", 1, unigram.size, BLOCKS * filters);
            Table table = new Table(values, unigram.size, filters, scale, bias);

            double weight = 0;
            WordVectors wordVectors = null;
            if (model.containsKey("lexical")) {
                Map<String, Object> lexical = Json.object(model.get("lexical"));
                weight = Json.number(lexical.get("weight"), 0.01, 100);
                wordVectors = wordVectors(lexical);
            }
            return new VitrinaEncoder(
                    normalizer(Json.object(config.get("normalization"))),
                    unigram,
                    table,
                    wordVectors,
                    weight);
        }

        private WordVectors wordVectors(Map<String, Object> sizes) throws IOException {
            int features = (int) Json.integer(sizes.get("features"), 0, 1 << 16);
            int dim = (int) Json.integer(sizes.get("dim"), 1, 2_048);
            String name = "lexical.safetensors";
            Safetensors arrays = new Safetensors(name, read(name));
            int[] hashes = new int[features];
            arrays.find("hashes", "U32", 4, features).asIntBuffer().get(hashes);
            byte[] rows = new byte[features * dim];
            arrays.find("rows", "I8", 1, features, dim).get(rows);
            return new WordVectors(hashes, rows, arrays.floats("scale", features), dim);
        }

        private static Normalizer normalizer(Map<String, Object> settings) throws FormatException {
            Object style = settings.get("style");
            if (!"default".equals(style) && !"paper".equals(style)) {
                throw new FormatException("config.json: has an unknown style of normalisation");
            }
            Normalizer all = new Normalizer(style.equals("paper"), Set.of());
            Set<String> stopWords = new HashSet<>();
            for (Object word : Json.list(settings.get("stop_words"))) {
                String form = all.form(Json.string(word));
                if (!form.contains(" ")) {
                    stopWords.add(form);
                }
            }
            return new Normalizer(style.equals("paper"), stopWords);
        }
    }

    /** Arrays by name: a header in JSON, then the numbers, in little-endian order. */
    private static final class Safetensors {
        private final String name;
        private final ByteBuffer data;
        private final Map<String, Object> header;

        Safetensors(String name, byte[] content) throws FormatException {
            this.name = name;
            ByteBuffer file = ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN);
            long length = content.length < 8 ? -1 : file.getLong(0);
            if (length < 0 || length > content.length - 8) {
                throw new FormatException(name + ": is no safetensors file");
            }
            byte[] text = Arrays.copyOfRange(content, 8, 8 + (int) length);
            header = Json.object(Json.parse(text, name));
            data = file.position(8 + (int) length).slice().order(ByteOrder.LITTLE_ENDIAN);
        }

        /** The numbers of an array, which must have this type and shape. */
        ByteBuffer find(String array, String dtype, int itemSize, long... shape)
                throws FormatException {
            long size = itemSize;
            List<Object> expected = new ArrayList<>();
            for (long length : shape) {
                size = Math.multiplyExact(size, length);
                expected.add(length);
            }
            if (!header.containsKey(array)) {
                throw new FormatException(name + ": has no array " + array);
            }
            Map<String, Object> entry = Json.object(header.get(array));
            List<Object> offsets = Json.list(entry.get("data_offsets"));
            boolean fits =
                    dtype.equals(entry.get("dtype"))
                            && expected.equals(entry.get("shape"))
                            && offsets.size() == 2;
            long first = fits ? Json.integer(offsets.get(0), 0, data.limit()) : 0;
            if (!fits || first + size > data.limit()) {
                throw new FormatException(name + ": " + array + " has another type or shape");
            }
            ByteBuffer part = data.slice((int) first, (int) size);
            return part.order(ByteOrder.LITTLE_ENDIAN);
        }

        float[] floats(String array, int count) throws FormatException {
            float[] out = new float[count];
            find(array, "F32", 4, count).asFloatBuffer().get(out);
            for (float value : out) {
                if (!Float.isFinite(value)) {
                    throw new FormatException(name + ": " + array + " has a number not finite");
                }
            }
            return out;
        }
    }

    /** The fields of a protobuf message, one after the other. */
    private static final class Protobuf {
        private final ByteBuffer data;
        int number;
        long value; // of an integer or a float
        private byte[] bytes;

        Protobuf(byte[] message) {
            data = ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN);
        }

        boolean next() throws FormatException {
            if (!data.hasRemaining()) {
                return false;
            }
            try {
                long tag = varint();
                number = (int) (tag >>> 3);
                bytes = null;
                value = 0;
                switch ((int) tag & 7) {
                    case 0 -> value = varint();
                    case 1 -> value = data.getLong();
                    case 5 -> value = data.getInt();
                    case 2 -> {
                        long length = varint();
                        if (length < 0 || length > data.remaining()) {
                            throw new BufferUnderflowException();
                        }
                        bytes = new byte[(int) length];
                        data.get(bytes);
                    }
                    default -> throw new BufferUnderflowException();
                }
            } catch (BufferUnderflowException error) {
                throw new FormatException("tokenizer.model: is damaged");
            }
            return true;
        }

        byte[] bytes() throws FormatException {
            if (bytes == null) {
                throw new FormatException("tokenizer.model: is damaged");
            }
            return bytes;
        }

        private long varint() {
            long out = 0;
            for (int shift = 0; shift < 70; shift += 7) {
                byte part = data.get();
                out |= (long) (part & 127) << shift;
                if (part >= 0) {
                    return out;
                }
            }
            throw new BufferUnderflowException();
        }
    }

    /** A small parser of JSON: maps, lists, strings, Long, Double, Boolean and null. */
    private static final class Json {
        private static final int MAX_DEPTH = 32;
        private final String text;
        private final String name;
        private int at;

        private Json(String text, String name) {
            this.text = text;
            this.name = name;
        }

        static Object parse(byte[] content, String name) throws FormatException {
            Json json = new Json(decoded(content, name), name);
            Object value = json.value(0);
            json.skipSpace();
            if (json.at < json.text.length()) {
                throw json.damaged();
            }
            return value;
        }

        @SuppressWarnings("unchecked")
        static Map<String, Object> object(Object value) throws FormatException {
            if (value instanceof Map) {
                return (Map<String, Object>) value;
            }
            throw new FormatException("config.json: or another file lacks an object");
        }

        @SuppressWarnings("unchecked")
        static List<Object> list(Object value) throws FormatException {
            if (value instanceof List) {
                return (List<Object>) value;
            }
            throw new FormatException("config.json: or another file lacks a list");
        }

        static String string(Object value) throws FormatException {
            if (value instanceof String string) {
                return string;
            }
            throw new FormatException("config.json: or another file lacks a text");
        }

        static long integer(Object value, long least, long most) throws FormatException {
            if (value instanceof Long number && number >= least && number <= most) {
                return number;
            }
            throw new FormatException("config.json: or another file has an impossible size");
        }

        static double number(Object value, double least, double most) throws FormatException {
            if (value instanceof Number found
                    && found.doubleValue() >= least
                    && found.doubleValue() <= most) {
                return found.doubleValue();
            }
            throw new FormatException("config.json: has an impossible number");
        }

        private Object value(int depth) throws FormatException {
            skipSpace();
            if (depth > MAX_DEPTH || at == text.length()) {
                throw damaged();
            }
            return switch (text.charAt(at)) {
                case '{' -> objectAt(depth);
                case '[' -> listAt(depth);
                case '"' -> stringAt();
                default -> literal();
            };
        }

        private Map<String, Object> objectAt(int depth) throws FormatException {
            Map<String, Object> out = new HashMap<>();
            boolean more = opened('}');
            while (more) {
                skipSpace();
                String key = stringAt();
                skipSpace();
                expect(':');
                out.put(key, value(depth + 1));
                more = another('}');
            }
            return out;
        }

        private List<Object> listAt(int depth) throws FormatException {
            List<Object> out = new ArrayList<>();
            boolean more = opened(']');
            while (more) {
                out.add(value(depth + 1));
                more = another(']');
            }
            return out;
        }

        /** Passes the opening bracket; false if the closing one follows. */
        private boolean opened(char close) throws FormatException {
            at++;
            skipSpace();
            if (at < text.length() && text.charAt(at) == close) {
                at++;
                return false;
            }
            return true;
        }

        /** Passes a comma or the closing bracket; true after a comma. */
        private boolean another(char close) throws FormatException {
            skipSpace();
            if (at < text.length() && text.charAt(at) == ',') {
                at++;
                return true;
            }
            expect(close);
            return false;
        }

        private void expect(char letter) throws FormatException {
            if (at == text.length() || text.charAt(at) != letter) {
                throw damaged();
            }
            at++;
        }

        private String stringAt() throws FormatException {
            expect('"');
            StringBuilder out = new StringBuilder();
            while (at < text.length() && text.charAt(at) != '"') {
                char letter = text.charAt(at++);
                out.append(letter == '\\' ? escape() : letter);
            }
            expect('"');
            return out.toString();
        }

        private char escape() throws FormatException {
            if (at == text.length()) {
                throw damaged();
            }
            char letter = text.charAt(at++);
            if (letter == 'u') {
                if (at + 4 > text.length()) {
                    throw damaged();
                }
                at += 4;
                try {
                    return (char) HexFormat.fromHexDigits(text, at - 4, at);
                } catch (IllegalArgumentException error) {
                    throw damaged();
                }
            }
            int place = "\"\\/bfnrt".indexOf(letter);
            if (place < 0) {
                throw damaged();
            }
            return "\"\\/\b\f\n\r\t".charAt(place);
        }

        private Object literal() throws FormatException {
            int start = at;
            while (at < text.length() && ",]} \t\r\n".indexOf(text.charAt(at)) < 0) {
                at++;
            }
            String word = text.substring(start, at);
            switch (word) {
                case "null":
                    return null;
                case "true":
                    return true;
                case "false":
                    return false;
                default:
                    break;
            }
            try {
                if (word.matches("-?[0-9]{1,18}")) {
                    return Long.valueOf(word);
                }
                return Double.valueOf(word); // NaN and Infinity, too
            } catch (NumberFormatException error) {
                throw damaged();
            }
        }

        private void skipSpace() {
            while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
                at++;
            }
        }

        private FormatException damaged() {
            return new FormatException(name + ": is damaged (no JSON)");
        }
    }

    /** A folder that is no encoder, or one that this reader doesn't read. */
    public static final class FormatException extends IOException {
        private static final long serialVersionUID = 1;

        FormatException(String message) {
            super(message);
        }
    }

    /** A growing array of integers; also the characters of a text. */
    private static final class Ints {
        int[] values = new int[16];
        int size;

        void add(int value) {
            if (size == values.length) {
                values = Arrays.copyOf(values, 2 * size);
            }
            values[size++] = value;
        }

        int[] toArray() {
            return Arrays.copyOf(values, size);
        }

        boolean isAscii() {
            for (int i = 0; i < size; i++) {
                if (values[i] >= 128) {
                    return false;
                }
            }
            return true;
        }
    }

    /** A hash table from longs to integers from 0 on. */
    private static final class LongMap {
        private long[] keys = new long[1 << 12];
        private int[] values = new int[1 << 12];
        private int count;

        LongMap() {
            Arrays.fill(keys, -1);
        }

        /** The value of a key, or -1. */
        int get(long key) {
            int place = placeOf(key);
            return keys[place] == key ? values[place] : -1;
        }

        void put(long key, int value) {
            if (2 * ++count > keys.length) {
                grow();
            }
            int place = placeOf(key);
            keys[place] = key;
            values[place] = value;
        }

        private int placeOf(long key) {
            int mask = keys.length - 1;
            int place = (int) (key * 0x9E3779B97F4A7C15L >>> 32) & mask;
            while (keys[place] >= 0 && keys[place] != key) {
                place = place + 1 & mask;
            }
            return place;
        }

        private void grow() {
            long[] oldKeys = keys;
            int[] oldValues = values;
            keys = new long[2 * oldKeys.length];
            values = new int[keys.length];
            Arrays.fill(keys, -1);
            for (int i = 0; i < oldKeys.length; i++) {
                if (oldKeys[i] >= 0) {
                    int place = placeOf(oldKeys[i]);
                    keys[place] = oldKeys[i];
                    values[place] = oldValues[i];
                }
            }
        }
    }

    private static String decoded(byte[] text, String name) throws FormatException {
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(text)).toString();
        } catch (CharacterCodingException error) {
            throw new FormatException(name + ": is damaged (no UTF-8)");
        }
    }

    private static String sha256(byte[] content) {
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(content);
            return HexFormat.of().formatHex(digest);
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error); // every Java has it
        }
    }

    // ---------------------------------------------------------------- the command line

    /** Runs one of the three commands; a user's mistake is told in one line. */
    public static void main(String[] arguments) {
        try {
            List<String> given = List.of(arguments);
            String command = given.size() + (given.isEmpty() ? "" : given.get(0));
            switch (command) {
                case "2check" -> System.exit(check(Path.of(given.get(1))));
                case "3time" -> time(Path.of(given.get(1)), Path.of(given.get(2)));
                case "4encode" -> write(
                        Path.of(given.get(1)), Path.of(given.get(2)), Path.of(given.get(3)));
                default -> throw new FormatException(
                        "usage: check FOLDER, encode FOLDER TITLES OUT, or time FOLDER TITLES");
            }
        } catch (IOException error) {
            boolean isOurs = error instanceof FormatException;
            System.err.println(isOurs ? error.getMessage() : "can't read or write: " + error);
            System.exit(2);
        }
    }

    /** Compares with the golden vectors; returns the exit status. */
    private static int check(Path folder) throws IOException {
        VitrinaEncoder encoder = load(folder);
        byte[] content = new SavedFolder(folder).read("golden.json");
        Map<String, Object> golden = Json.object(Json.parse(content, "golden.json"));
        List<Object> entries = Json.list(golden.get("titles"));
        int equal = 0;
        for (Object entry : entries) {
            Map<String, Object> expected = Json.object(entry);
            String title = Json.string(expected.get("title"));
            List<Object> pieces = new ArrayList<>();
            for (int piece : encoder.pieces(title)) {
                pieces.add((long) piece);
            }
            if (!encoder.normalForm(title).equals(expected.get("form"))) {
                System.out.println("another normal form: " + Json.string(expected.get("form")));
            } else if (!pieces.equals(expected.get("pieces"))) {
                System.out.println("other pieces: " + Json.string(expected.get("form")));
            } else if (!sha256(encoder.bytes(List.of(title))).equals(expected.get("sha256"))) {
                System.out.println("another vector: " + Json.string(expected.get("form")));
            } else {
                equal++;
            }
        }
        System.out.println(equal + " of " + entries.size() + " golden titles are reproduced");
        return equal == entries.size() ? 0 : 1;
    }

    /** The vectors of titles as float32, little-endian, one after the other. */
    private byte[] bytes(List<String> titles) {
        float[] vector = new float[width()];
        ByteBuffer out = ByteBuffer.allocate(4 * vector.length * titles.size());
        out.order(ByteOrder.LITTLE_ENDIAN);
        for (String title : titles) {
            encode(title, vector, 0);
            out.asFloatBuffer().put(vector);
            out.position(out.position() + 4 * vector.length);
        }
        return out.array();
    }

    private static void write(Path folder, Path titles, Path out) throws IOException {
        VitrinaEncoder encoder = load(folder);
        List<String> lines = lines(titles);
        try (OutputStream file = Files.newOutputStream(out)) {
            for (int start = 0; start < lines.size(); start += 1024) {
                int stop = Math.min(start + 1024, lines.size());
                file.write(encoder.bytes(lines.subList(start, stop)));
            }
        }
        System.out.println(lines.size() + " vectors of " + encoder.width() + " dimensions");
    }

    /** Measures the rate of one thread: six rounds, of which the last is told. */
    private static void time(Path folder, Path titles) throws IOException {
        VitrinaEncoder encoder = load(folder);
        List<String> lines = lines(titles);
        float[] vector = new float[encoder.width()];
        double rate = 0;
        for (int round = 0; round < 6; round++) {
            long start = System.nanoTime();
            for (String title : lines) {
                encoder.encode(title, vector, 0);
            }
            rate = lines.size() / ((System.nanoTime() - start) / 1e9);
        }
        System.out.printf("%.0f titles/s%n", rate);
    }

    /** The lines of a file in UTF-8; only a line feed ends a line. */
    private static List<String> lines(Path path) throws IOException {
        String text = new String(Files.readAllBytes(path), StandardCharsets.UTF_8);
        List<String> out = new ArrayList<>();
        int start = 0;
        while (start < text.length()) {
            int end = text.indexOf('\n', start);
            end = end < 0 ? text.length() : end;
            out.add(text.substring(start, end));
            start = end + 1;
        }
        return out;
    }

    // ------------------------------------------------------------------- characters

    /** What the normal form needs to know about characters: those of Unicode 14. */
    private static final class Unicode {
        private static final int LETTER = 1;
        private static final int DIGIT = 2;
        private static final int FORMAT = 3;
        private static final int SIGMA = 0x3A3;
        private static final int FINAL_SIGMA = 0x3C2;
        private static final int HANGUL = 0xAC00;
        private static final int LEADING = 0x1100; // parts of a Hangul syllable
        private static final int VOWEL = 0x1161;
        private static final int TRAILING = 0x11A7;
        private static final int VOWELS = 21;
        private static final int TRAILINGS = 28;
        private static final int SYLLABLES = 19 * VOWELS * TRAILINGS;

        private static final byte[] CLASSES = new byte[0x110000];
        private static final byte[] COMBINING = new byte[0x110000];
        private static final BitSet IGNORABLE = new BitSet();
        private static final BitSet CASED = new BitSet();
        private static final Map<Integer, int[]> DECOMPOSITIONS = new HashMap<>();
        private static final Map<Long, Integer> COMPOSITIONS = new HashMap<>();
        private static final Map<Integer, Integer> LOWER = new HashMap<>();

        static boolean isSpace(int letter) {
            return letter >= 9 && letter <= 13
                    || letter >= 0x1C && letter <= 0x20
                    || letter == 0x85
                    || letter == 0xA0
                    || letter == 0x1680
                    || letter >= 0x2000 && letter <= 0x200A
                    || letter == 0x2028
                    || letter == 0x2029
                    || letter == 0x202F
                    || letter == 0x205F
                    || letter == 0x3000;
        }

        static boolean isKept(int letter) {
            return CLASSES[letter] == LETTER || CLASSES[letter] == DIGIT;
        }

        static boolean isDigit(int letter) {
            return CLASSES[letter] == DIGIT;
        }

        static int combiningClass(int letter) {
            return COMBINING[letter] & 0xFF;
        }

        /** Replaces each character by its decomposition, and removes format characters. */
        static Ints decomposed(Ints text) {
            Ints out = new Ints();
            for (int at = 0; at < text.size; at++) {
                int letter = text.values[at];
                int syllable = letter - HANGUL;
                int[] parts = DECOMPOSITIONS.get(letter);
                if (parts != null) {
                    for (int part : parts) {
                        out.add(part);
                    }
                } else if (syllable >= 0 && syllable < SYLLABLES) {
                    out.add(LEADING + syllable / (VOWELS * TRAILINGS));
                    out.add(VOWEL + syllable / TRAILINGS % VOWELS);
                    if (syllable % TRAILINGS > 0) {
                        out.add(TRAILING + syllable % TRAILINGS);
                    }
                } else if (CLASSES[letter] != FORMAT) {
                    out.add(letter);
                }
            }
            return out;
        }

        /** Sorts each sequence of marks by combining class; equal ones keep their order. */
        static void sortMarks(Ints text) {
            for (int at = 1; at < text.size; at++) {
                int letter = text.values[at];
                int order = combiningClass(letter);
                int place = at;
                while (order > 0 && place > 0
                        && combiningClass(text.values[place - 1]) > order) {
                    text.values[place] = text.values[place - 1];
                    place--;
                }
                text.values[place] = letter;
            }
        }

        static void lower(Ints text) {
            int[] raw = text.toArray();
            for (int at = 0; at < raw.length; at++) {
                if (raw[at] == SIGMA && isFinal(raw, at)) {
                    text.values[at] = FINAL_SIGMA;
                } else {
                    text.values[at] = LOWER.getOrDefault(raw[at], raw[at]);
                }
            }
        }

        /** Whether a sigma ends a word: a letter with case before it, and none after it. */
        private static boolean isFinal(int[] text, int sigma) {
            int before = sigma - 1;
            while (before >= 0 && IGNORABLE.get(text[before])) {
                before--;
            }
            int after = sigma + 1;
            while (after < text.length && IGNORABLE.get(text[after])) {
                after++;
            }
            boolean follows = before >= 0 && CASED.get(text[before]);
            return follows && (after == text.length || !CASED.get(text[after]));
        }

        /** Composes characters: the second half of Unicode's form C. */
        static Ints composed(Ints text) {
            Ints out = new Ints();
            int starter = -1;
            int last = -1; // combining class of the mark before; -1 right after the starter
            for (int at = 0; at < text.size; at++) {
                int letter = text.values[at];
                int order = combiningClass(letter);
                if (starter >= 0 && last < order) {
                    int both = composition(out.values[starter], letter);
                    if (both >= 0) {
                        out.values[starter] = both;
                        continue;
                    }
                }
                if (order == 0) {
                    starter = out.size;
                }
                last = order == 0 ? -1 : order;
                out.add(letter);
            }
            return out;
        }

        private static int composition(int first, int second) {
            int leading = first - LEADING;
            int vowel = second - VOWEL;
            if (leading >= 0 && leading < 19 && vowel >= 0 && vowel < VOWELS) {
                return HANGUL + (leading * VOWELS + vowel) * TRAILINGS;
            }
            int syllable = first - HANGUL;
            int trailing = second - TRAILING;
            boolean isOpen = syllable >= 0 && syllable < SYLLABLES && syllable % TRAILINGS == 0;
            if (isOpen && trailing > 0 && trailing < TRAILINGS) {
                return first + trailing;
            }
            return COMPOSITIONS.getOrDefault((long) first << 32 | second, -1);
        }

        static {
            Numbers numbers = new Numbers();
            numbers.runs((start, stop, value) -> Arrays.fill(CLASSES, start, stop, (byte) value));
            numbers.runs((start, stop, value) -> Arrays.fill(COMBINING, start, stop, (byte) value));
            numbers.runs((start, stop, value) -> IGNORABLE.set(start, stop));
            numbers.runs((start, stop, value) -> CASED.set(start, stop));
            numbers.entries((letter, text) -> DECOMPOSITIONS.put(letter, text));
            numbers.entries(
                    (letter, text) -> COMPOSITIONS.put((long) text[0] << 32 | text[1], letter));
            numbers.entries((letter, text) -> LOWER.put(letter, text[0]));
        }

        private interface Run {
            void add(int start, int stop, int value);
        }

        private interface Entry {
            void add(int letter, int[] text);
        }

        /** The integers of the table below, which readers/unicode_table.py wrote. */
        private static final class Numbers {
            private final byte[] bytes;
            private int at;

            Numbers() {
                Inflater inflater = new Inflater();
                inflater.setInput(Base64.getMimeDecoder().decode(UNICODE));
                ByteArrayOutputStream out = new ByteArrayOutputStream();
                byte[] part = new byte[1 << 16];
                try {
                    while (!inflater.finished()) {
                        out.write(part, 0, inflater.inflate(part));
                    }
                } catch (DataFormatException error) {
                    throw new IllegalStateException(error); // only if this file is damaged
                }
                inflater.end();
                bytes = out.toByteArray();
            }

            private int next() {
                int out = 0;
                for (int shift = 0; ; shift += 7) {
                    byte part = bytes[at++];
                    out |= (part & 127) << shift;
                    if (part >= 0) {
                        return out;
                    }
                }
            }

            void runs(Run run) {
                int stop = 0;
                for (int left = next(); left > 0; left -= 3) {
                    int start = stop + next();
                    stop = start + next();
                    run.add(start, stop, next());
                }
            }

            void entries(Entry entry) {
                int letter = 0;
                int[] last = new int[18];
                int left = next();
                while (left > 0) {
                    letter += next();
                    int length = next();
                    for (int i = 0; i < length; i++) {
                        int change = next();
                        last[i] += (change & 1) == 0 ? change >>> 1 : -(change + 1 >>> 1);
                    }
                    entry.add(letter, Arrays.copyOf(last, length));
                    left -= 2 + length;
                }
            }
        }

        private static final String UNICODE = """
        eNrtfQeAFUXS/1T3zLy0721kWdJKzmEXlCguQTBhOMN5nmeOdyJn+lTO81hyDgoCkiQJiAiIiIgSBfRQEVERERUB
        V0SJIqIC/n9VPfP27bKLcGL4vv/pvu6e7urq6urq6uqemubD9JywCpQntzw1IlKkbUX4TyPURGWJTiNao8lOophD
        AS6i1P9hQGVz2iWBw38ZRJcRDUTKITUNUU0AkVuHgg2kXMkfUbAC2TZFXR2OcF3dhqywsm9FAVlAFWacyLE0gyeT
        tlqRuoViyKlPtkHTkNIqkh0hJ0sIUNo9n+ta3ZEOK0pnXAoUZpKhWNukQpJjo4S4hw5DWshxDVVAwrjseC3l/Snp
        EOdr7mhAeh1AXZcieA5J9+NVGK3kGOptbiUUkJxEkgykIUlTQBeShNIwsw2MAaEyDMI7JJCjk8h2vCKBEr5oikb9
        0UphtCQAAeWRoYSMYIAzuf8GMuzREAd2laANc589hE0kdMhJEXaFpEnkpJHOkr4DeUAQuEJnkNywQqeiLclJRhOq
        lqHfIcqSRFlSDhm5AUIQVhl5imtZYYr/ZyNdnewMbggJtNNCpMSV0AKRNT2sqh7Rm4ZuI5tI1JGwStFMUNNCEu2Z
        46EM0imU8kcefv0VclOJypNzAekIBTIplEmRDEoyPFCUdLl0UTHJbphStQgbCUVXUaAeOR0pjGmSxLMkDAKzuZcR
        iGt56RlRDYhrHlElHg2uFVbAHYzxcOVeSDqsUkOUlCOda0lJzSkYVhhkfqzOQ4QmQHQKiKhFzkhbhLamhMFCpmGi
        qjN8gWdJFbGHSEfJkceYo8s7OhcPYW0k34mQG6UmUZYLiFaqCIiSgdAOuYXjQRRhKXIcTlJL2uCcSRdl0kE7m74K
        fobRDPEgFY5KcyYjOYtY9Ev8q8zK5j2QWS5ZxBCI/+jNBvozN+hgYK/lHoQrU04KVQ5TdpDVARK1kmmZWtaE2gx+
        hqh9Q1KDFY+mJfM5I0ek516qgdl1G6k25PgimNVU+ulS+HRK6sgD5WaJ7opzujolVSLdlmJmlAxO9KcZhWIy+GVJ
        n0dZmFQpTHLYlTFw/W6C5Bi5D4nWAPDUKympLNm51KvdbuT8jWoGKAlzKYkoKmyKK8XOVOVLRWltSDWl2klUPYXa
        oLivzPsUXztHrmLaTYNgU0WtIW2QWlZ3oilVjKo+REkNKKkFpSq6m6gHJE7nUjKkD7Mom5nqZHM37SATUHeC6Eu3
        OhfbtSkIvkQYk6eiEtLtX1A8K8JByoJY1OW538FozvpCJQJM7dNYBIIhyhGSnCo8ATo254msGkuOUT6VmH6MUtnT
        WBAqIzOb1VpKUwpnkqpATnkqG6BLzqNmTSjahAINeT5MA3ZuWFThRSC2BlXIpLoVKaMshc7h+WqJUg6dKYsY6zet
        yrGmds9gTYQ1J1idKQ514PUHKUumJot3BkWgaGqwxLf1NQZ3PUyBVuQAg12C+kapEVijiJ2AqEIHK+AFXAdtZHcU
        nQjaqSlP47IuVW3LDIiEVc0WTFrTCqyZbJFcO0AvUiu6xeg46IOgSEdQmssWoUJmWHUM8gJo8ivksT4Pni86+Tzq
        y+q8AQ9OMlCky2BnslCeZ4iuL+LOPGCqXFfSNcj0AOQswCC+CIjkMlRvTIBu/TulriR6I+MGSp6DdkL61dNetenF
        9i9ivTiNmepeLKHRd5glNhPIHCpDTjrNda6kv15ANrqaSm1E1COKYocaUXBDiOqG6PMOts/PKYoaaErFIA3S1Cvt
        DnKipKH5wrIE2npz9YYsYhN4+YN9ENRWkPmdbdMIdGosrI/O5TBjriA6x1u1zXIPpSwLNkZW1H9Q0hVlhGUKajy+
        C9ByROXE2CkxRGONVb7djOzGzHEoiEyHRWRd8DT6lDGmylojgvEehkCLvkAbyyG2qaLZC0JmAZa5SquIlUidTjz4
        o9xW3ircqQEXrmCwCp65xEFYKnrrZjzprU4eTOJ/JtPw1vYrhJlIR5ZzJFZiWdhWJqz6BLdg/az8YmUKfIw6PRpQ
        7NmW9ETWBJu2Rl6vSQs+qEc6+3qdT3uJvg/mu2UKsPrtIMvebGLaSJaDtFpj8jiOIHbMY5DB9+KHWONZI1abQXqB
        h8JDp/z0F0jvLBpHC2i4cgqovyJA2QzlYaKPTdpF2uXGvTLll233sIYtiliUZFHUophFyRalWJRqUZql0i3KsKiM
        xUYczKIsi8fb4MGkOlc6kG3RaRZVzqEKFlW0qFI8x6IqFlWV9rgHTmL7m7G6V7slUICR8LKBVqGIEkCqUfVsKlpL
        Yu3xI84Xv8cJz8Vj1JtIgcLMEOIstE2hAmE4gbx6QHymPxgoq8sk8/jFitIVj7VPjN91nQDg9flMCqRAOyTQcZvk
        5CCntaS6JITd/ESALrfo6lskfacKIfwnJ26zKBS17+is7pfEPzqhlQoyGvzbiNW4O9rpgXQvcuwekHakhdwQR2cB
        7C5IvgpditRbDuidH1BY/ULjwYkwSHqdIBdDSQTEkPyhP+LnwDTEiLOg5ThFhYpU0U5bnjCC/mQK1fQ7D/43VaGW
        FIioUHsKjBbGkzdHCoUeBNoAd5HUyF5NqrB+If95AmzwxhPzqoY/WbZ7eZsKJ02CIKxzhEwzVbSgsqWdoiKj4sQc
        LQsiB4M711cuoJm2oN3uTW8wSW2hv6rgu18yk+xwAVUGwkvwGwGboAaFRqFihbQCagExweN1FEii0B4G9jvFQu+I
        4BfQ6RQ6iApzYXuU7+5ybwOmt28GALmVB/kxFtRHozLcBVRbaBY8NoWe9EdqsY3e9WTePS4jkzg50K3cYpNjGdqs
        w2ZcqAWFLAp0AHyOCp1FgU4UwjrzN8mdh3GBGF2iWCSzQJwGJW/yykeBssB0k0D9QBL9i0L3S+JeCsEE5VQPpbAG
        BsYB4DIKpVHoD6AY240eSgQSTxvHQP+2AuYXQ8qd9Th6uLqO2sjDpNF5y9lIwSAY5hg5y0YfR7AEvVQBVSgVkhkw
        bGUW9eaHbxVPMsBtiYCRd7ImpED3cC1ZKmDBVRPlf46/CtiyMH6rl8mGBk8hWSx+AH1vGeM9t+h2HfZdBCYz79UZ
        V7gMtBrdEvQWpSoCm12Bro5Qy4i3vGVlQc1wRd5UBqlOS0xZaTsoBrjscKOyCrYktsWALEOxJQvKWhi6/O12ttiW
        EZPPOwvGAOBM2Zy0NDQKhoAYF7CTWsua31hWx2aySDr+DhcAlfxabLIpRlURyFUhGQA4l3hLTrITwaoeCdGNxMZX
        SNbf8xWvzea/ZjGz3+GdlNmo3mqbIwnuSzmgxbbN5s7i0ZUuX0u0Bbnz0EIlxf3DH9tGAW5fRcx+mxo4vPduq6gq
        0f1yPMB7bw1FJbZNS/I2eiQWIjaliveGBGsk16Yc8mwbBLVhM2J9t5kA4G5OnrmOX0sxadu4dKmWHQlrJNnfK2qc
        xxlVb6HFBjSiKWr+FG9hgopHnyXEoVyxhEkwpGAzWYUGYkN/t6aHpbvXezs9sMdm6xjQ17h0jaaRMDdoa8ilIcBz
        o+0hqWhDs1CsKl2ExVjTbZqpCXrWETMU9Ueh5fJp3F7NIJWLUEPNPVbSRWxhyyhq54r1p1gQgiK2ETnL4OMQ5W0I
        MYYxP32zwzO8q3QJzbBuouHAtdhO4ZaTUngYUPaUYXvixELnGmB7hGY1dUddKDDWX9Q76O+TVttipjk21daM/Uk8
        QHmx7oLqivCAYcvYNJnqiJSENeco5dECrjTWVN3hjpxFPJanhygspz/XydaDRLAmcueC3PcWMrw1ZCvyCtut2py7
        0OUyZWyZ17uB2pVUBUVXBD08fzPyJHC3aDEgHerJewpF+Up56mMYCXlIYS9e2/XO1EKyKW3Ikk4jtWES0aWZvlms
        6B+uv/sQyT1XeeeGHwLZS9gMvHAnK0beQwwEvjx/xzAwn/xNwoRywhNvKzARfIXNULgJeCn5WPM8XNQ074098l6k
        WtusLunOIM0p41D30ZCf7OtJbNyluq1/GGrMbsecgb4ivbfXiegsMzzQupQj0KA5/8SKMyoz4agKHJroyKFTj1T/
        VKdNfcrjuUa3jFT/4cFOb3WcgxtXivyzm9TKPKGedU+nkbF/8gGJK2eMST6Rj+4nOVztIxNQ9tGtCk9QKsiYPe/W
        IwfkX0LLJpAcafQPCsueDF1C18thwn2lHCO8EpUd/TNl29CWmdSG8l//BXds82NhHpJP08+mr5KFQPw9O4nnSpug
        soYlseHoqO6s7KsLCTWAf2FMqxdinXhE6J/KHk9fRvp1p9vJtiws0raF/5VqNyZCcnoc/0EDc4HdEl24MCE/CR1I
        TnxWKsznvk7x+lolJRerF9XYIv4a7ShlYb/6d5gobSxSebYXn23iVhd6z8qLw0Xj1hbHWrVOLlbfh2/nxc08fOne
        c7AYXBsP33kePlWsvBhdeW1B93dMBCq2nutTcz7HSrW+wIPq5MVnePFTIYO+1YhQyRDjQi+BSx+EZoWLtRs2FVuk
        l1yvdZli9J5frLxp4jP6l1pK/4rzpaXHN69HrSwvH2OnooXphDGhaBV1TjYnY6qJgGfoG7pH9txH2kKxbmMhs9F1
        GH+P563yCtNXrfQ63shrqEnRWOdhwyModB62+X4qM54qKymlb7OCfh75ja7h017u/WI+Q2WszTzszZp72C0fdpgD
        iVmgkXoriOCCbeFCIlsM8UYjl0y1qzKceBMeYyt4mHepikU53Ewf/7lJsecWP/Hcvm7RmXBlE44D6kJPwpoZonW9
        1q7PkJDfSW+0E7pdTzj0MNvWh6Hqvg3wawIaEhQNCOU4nFOV1bOsHGUOY7mwzsQP88ZK0dQHC/augKyCUICLgn/B
        FlKUa3VSZdJzaDyW/mfD/VC9qavO6AuFasXQ5FZ+5/Mc9NrLERBhy0+pJPlBSYC6yjGrvMrDQxb/opLpAZLO4sKy
        XmEEhaaW4vPIJD5lVNw36BlqhyWhPK8KMaEKK2ZLm6oFsKllxZSilI7aqlzMUbWjYr2ozKSIKmNVBlPKKidSCNMR
        MM3iMFnqxjTgs85Xi40AxNQFVuI4aXWGNvFqMRZR0FtbxXRYoOgcbOLlv8vQ/PtWeTUuKwaZ53pj7cm3EeshpObb
        B0JjSfXSk7UZr3YogWWvOtLFqkMb83wUE0R9R9a5aiTmvaplpaqq1gZbzQqtiwRVCvC5VnWZ+T4hYe/H6TRhdWc1
        V/VieWicoi44g0uUKm9drvqofAWtb1VT7eN1tcq2dpJaaM+3tbIaJVZqhu3+AtVU3Z5rgKnxP4HgKD2o9tNR7KJi
        PIwKRbUgONaMWt1Qeoh8WHR4muJjLqxUKN7Jfa58hdpB02BeATJf1VHtc3kMG8GKaqa6zLLDKsNyQJP/i2KcwurG
        3owE49SDsoCp0lds02dzygqqnpSdptp1KanmnWomCIXE71YDMtT62kPqKxHkwp8NXtVRl0pai/xyf1zrC1jwnYkG
        wBLpawxcpB6FSTDYKXwdnPAnNss0TLQp8WNWY4jBDPzYmD5bYVIvvccv2hE/AP4iILsaPLwM4X0BvzUo63WHFL55
        j+xakFqH1IdAsQ+FHyP92S1+42Kv0EtReUNqzvEPJUlUUWY97NyvsEN5DxU/wm87fv9GLzbi9yXS++Pvgl0f42R0
        /SUQcB32P0i+juTV8RMD/8+VziExRxvSkZwKAif9zRziA+GsoA/8ht1W7Yo+cb03w1p586S5FxudrFunH8n1FF/r
        vBJBVF56kUVOt/4Dxdca5avRS4tMQ52XGi6GtbXjxW6xVnzD4Cwvjnlwtofp4pCHqVW0mAHi0de6gq/CXZ8an3JP
        SbS+stgy7bXdulkpPQ54Pb2scH2N+SmVfEzv/b75+OMmQvPSKGt9WTGI9vGlKdPyUw39Jekn6Cw0ZbK82PGwXhaJ
        Ux3zcVExc69DMXPH438elcIrD87H0zpUzMz0aKvGa9EfiF/eySRvNAoVqj8Ki/8mvxdNPCqx8vkcLZSstHgq3od2
        8dIWdGI1Wvp8960cr02VF/HaptDJta2a+RhOL2qdFfaGTrY3ySdYA8aXoaFJSrE2q7c/SQzN/FnXsSS+BNTepMqy
        WmKB7oBAiceFiqd6kEmKlBiwnnQ8uHNLh9MJSI4tO7vUsv+IjrNPEO5E8XX6T/vV6UT6pWDuKSzjPYlDxQG/azn3
        FHcipZaxjILebtcuFicViw2c1o2quwYD5nd/mpyEmK1Mnu1WYboH+Q+YbYkVrJ+E73SS8CeL/+ZfFr9KwcrErxas
        AO8RBjC/+xLG0RLWy3rwgEAoK+BtJvqBt59GbyKaBz38rBh71wL2XixEs2PJpaFp37PYkDEevSt6U3+B4DEXyZkX
        K+dRFOxpSmB+8q70Xi7N04nEKL0vWrNn0fprYhWK1ScVyPSk4i8l4wFETdLdY2X9GrBEtV4fTeaultiby/zeZCT0
        Rj0SY48cq6Yyr6NK/wvQlm6u+qTbWVFYY8rqn8Ron0kKUQVbTc2nfvnSDiLFPhhIuo6ank/TOYNei4TUWQN5lwOD
        qdWZMXtyPhV0czbdG6Qp+djYVCa6R9NfjzFHKxCtBX30FAd1JAtdo4dKNF1LraToLjELjevdCpiJnwYSjETlHSli
        Kqr2R/71J53dl8Z34y5U5oNCtYlqK/041QpwFmbrJluppboh0SMkL2YMg9oQHWXrVcsTsLVRXNm6VBcamwyp6SbS
        t18Ga+82RfcpmhBVND7Kr2hU+oCIb4RDo+ZJAttJpFeUSSD2nTJKd3gkkkV0ICqngnniMbW1q0OPc5fbCBSrk4A9
        nE7b2O2bbnLQZ5ODMPl67yE+tRLSiaHD7jtWUNIBgbElXRhqC5tqgo1q5TBr0IyyyjMtyipnhI5bqkqqXDY7+yir
        ksnlg/tUIRLD0VyOP5DfpsTabY5XO6y7Luh2R6pa1ptG3ccGUTp+p6kHzdYeiv0MdaPsoXinmaVyZHfkqqSChxjV
        3r6FspqqKn75kMY2UMt+ysWm/LF+PH9eQxjB1pXUpH7knQy8ISleb8p7sStxwIu1bCcL86upppY5OlCCIVdd46Vr
        e/XaJOyB+dhj2hno4AJFc5ZSqXKukocmFTsHLeWnUkmnq/794svVTwa2lRwToZH0yYYqlbfvgcQulfjTybY+YZJM
        wKh1+o2hk6x2igNqfFwFdLJ/sVOKbThNDtsH+9LWPtSrH//drj/tS/j7kDW9kXfrVrVsJh2MTNT0Gb//q7WfaOR8
        mqto43d0OU19i6K0eDWQXSJ7b0zT04n+JJTWlvQAbMc7yRlYQ8mqS/yira44jUNu6WXimc2b9jOlelNRUWDb7bLN
        x+OOCL91IxodEBwpUhVFo5G3CHnXE7+44qKa8r6+syjVdx1R41mCbgdJPTSy07ynKi/P/5DXHNXN+8MBIaK/CGWv
        RQSUX2JVFlDkXSRZI6Ggc0Rv7k1m/xtp9T7JS5M+3y5gKN8N9EddaT8sKjZFGkL9yag1V5sWDI03S9U0gVlA8vCa
        luhGIfBarCTmGQ9DUOcwCUO/Avtmk1B9wDEnN4eDwrJ7iG4lwjRmViXJmeNo0/H5jt9YmvQuW4ibIM7rDDkzWQZi
        ZkBIR+8W2MKCIaad3eKtyn8dic5Htha4Pijdi+RZ6J4WfqF3C5Hit43fG2qR84ZpeSEy55vjFHRtPUkD5r3lSpJV
        LEmEaa2SbgT5MEugMb6HtAw4QAeZDpkzGZA8kt8Dm6dOIgcpkg6KaAaFd2FpqanQj9L7Tffr0Y9H7Ka0fSnmxMeD
        zBtNlaa+Hkgrnqfip2fH+7EW99OFB4UuHS8uq/5KAfX6MvKgv1/OerxOpajqmP1rtK3Vo1RE19oqE/FwurYxffYv
        URPr8XtLyUtHMSri+mPDsSrleeOIYR4ak/mmptS/CfTzFFgd9oaQ1HblmzK2P+GQ+A5ZPYzvRE/tm292AqRdFJ/r
        G3/m3cGawj6Zvz/6UGkJZ52uTUv2sXpCDr+KnlqNaFI1mSDtIcPjUPTsWATdhBvr6pvzzC+r3KCnLFJDu/Exsh1f
        MuyiK4htHa+0cA2utvfsnpjtvsmlEswvdUzO8WESwwisFnYIW91+59kbOl5KLtaDpLSeHWEv7fyafjwbzY8WInpL
        OLUah4OrcDgvwuE7UQ7XSTg2icPX0jkccjGHq2twuCuFw1EZHK6fKd+WbNsp0aBWHA7gd0XWcun7znM5/HSEFG/s
        Kshv57DvhRy+PUYKJiULBXyQZ71bgcPv7+TwlScM2m8l+uwzieaNluiFp8zT6xKlYeVey/K+CTp7JFTRsD+F9JGv
        9OI+NqzQVh1OyJIqKZ/GtE84KVdFZbKoNKpqG88m73y+MFaF75yOyfd+TsDa3qFaiGxd/n21Q1z9FWG8ioro4CrY
        42Khewc7g3X4jYXOfS0dGv1iotU1iHZBQY6CeGNIiLbxsjmolVkkl4POnediazSC/VG7ojpWvb4XEoH9wMECvxwT
        pO/fsUJ9iIcjvFwNQsW9t2DBnoWHz6eAiGGYYSNuw+T4H3+uLMD25DNojz0oXQjybsDacScRhg31v0WAIUO9sqTe
        3qb2nH1CDC9xYAJzx+oTsDnnjNXfv68SJppq+DfSLTOXj+HNdTPSuboD0azl5I9h4kge/88tCl9MCSX+qaKbzxKr
        JOSo7Q/sXafI6dn1uyFM2rB/LXkYM7n5/c8TNnUpbvQCFu+a5Ng3pNSFtW9dgk0mNn83Q49V7ktj6Noty1mR9OGJ
        r+3Uigx+EZaJOdB1tjWALryN93oXsUfIdHJT2ZRPqkO2bQ2l/lzRarOao9F0lgV9MYpU12tW82ozg1h9PHDBRGrG
        iZtXU9tM3mZWvBuaxp5OkZaiXiwrBfFUunownRNhBdUDNpW2s3vzZ4xVqiKnatVbUGEOXTmZezSBqld9EL1Jvflx
        duHVwbSb2GyNkR18jm7PIB2z+AzGtm4HDfPZFeg8AJXpQPKy07XS77Ln03mygUwDOrIuSSbXVc/RLR06cm75mxld
        kM/r7kJBir7YmiKKtmaYa99dpe1U3ixNhFHiuPfeNoBk71SHXWWsipchORkGsm1NomtzubdpWmoTeum44Ont1/LT
        ELrCUOdYz1KKdQ2qrZRvPwFmu3OoL0wtPDyI4KxmPGZ5PJYpkfns0NaXOmeh9v3MvlbPURoP28N3yA7+Wh6eyXQt
        eoLCKXLu0hHFz8H6sYPtrpjKA9MJOBpcXRUVLr9/Fb+DVjxANcvlTAGUdq+D2B9ZQV/9SD85Y8yseWSF3voj/Se7
        tZIKOjefsxyzLVCVVIeypNtlIVG+DJrC7r9sBneom3cOdkYjUu8eUgf7APxAdt+mpAaePvtqUmubzHXIXhh8v+na
        l9SYyYD8eoIe+wO72LK3C9YmNT5qmSd+ucIalRev5md9uEiRnWKXmbINKMMtEipY7RIqdahJuuNNjUm34pOOCAfl
        +RhtXfRcD4p3uWyShYA+pUij6ZbkaJ4+2K5ytYz/Ia3vlzzlZ92LrPs4a10fypdZZt1LqsXnsLt10yrVEpv+Y1VX
        xn51X4JV6c2p7q/wF77Vi3fZbVESE/jtWUdVWsmZU6OSsGt/E017kzeKrUGFaldB1Kudh82kvgdD8nof6orsq0Bm
        F8QYnLwqiM/0lk9+u3iRceCR4011DxLswFCP/TH45TmfgrS4kOw2TdTdpPPOzjO1OrYxTgdBGE5U0Ad7LV2HeXTa
        xKHqBKTzi5F672P6VEnnCdS4/fp9j+nxWLhWY2dlv4N4kNOD6P1xjqj3TJtm8kef21yaMQpZE3nZnYLE2ilOmPpP
        cUbBdjw4DRp++mNYZ2bxWtgTRuquB4gW80cgBdjh7Z5tjgwfe5xPd9kHdzhbpD3Q4mZsewr+gPUUhswBbH4O8vYR
        2GZj5/M4r9fzsO4fhr07APGStrB4sGcfgkofPQNcBTAIJmCPNhsm0FRso7ZeB0OhJwoWYO+38koUoObzjGbCP1Gt
        HNFTT+JhDBbvaXiYCtqmgtChbHRsBdVr0fIb5wAae8bvgXM28M8HZQPwzIbBNFDVB8bH9+DCSNgHH3KfC8CfFchY
        D6CD2OgdbABTA/vxXa+icA0yF8KCeBkALzSHLYJm98KE2Vkb/DkEgBGgcCu2fEPAjJ1ofhmAhiGegV3kvsGgaz9v
        uT9aJI6mNHES4pWoUgC8/dDJL+rB0OEtewHIPdQTif5sSW0Gxg1ocifMnvUw55/tz6YPb0a+hVKld2HJvACj5ug/
        MG6V8AweLmbOLIBhtBqZw85An0DqJw/BSMLUp7d44zkcG9y12Cf0fxgsAZt2MWcPgg/LeH/9Z/AOIzkMTF0NBn9f
        gei5H5jbGNKtsNT2l8FoInM/ur4RTO1zD4DQ3ibQ2QXG01zesvEgIm8Dt/khO/UuxLhvQTwfzTyKjfsbGKZ82IM9
        gO1d1DwIw213SxhlwLoTm5e1gP+slzLG5HwAj7wLkgW5WAc2LJ/DJiG4O4hZWBn8bEf0CG+IHkXBTGRsTjdOIyuB
        dtZFZme/FWg3It6MLvdCOXNwIgb9cShrWj2DrT8MVj908Zn38fD8eRg9VJ9R3xymzIfArE8FQRi/HYgPgNr8hiiD
        rPTfDoA3liD4Nzvab7/MnBWNQ+cWgG2bEE9EPBWdWgO2jIO5+elY3jXCHB3xNiAf5ym1uQmwIScfVggtZmz7MXWn
        gddbIItH+dKHFx9hlw90bBaGZjPG8aBtDltYlFdAdhaibDbyZ9WQg6ANYMos9GgVk3UQzb74N3DsfgwvbPKVMCvX
        g3M7MNTD0NOh/CnQDkjkIgzfi0DGNvl2IJ8Ca/lNjMFRVJ6zH5lfMc3f8rjC1l7S2Ax+H9jnk5j0eRDJdyB1Q5ht
        H4H8HpgMPdG5PYzwSch0fpqGJCia31zT05eCp1xtGQZze0gOZpC6HPUxp+egyaMRRTPLKXojXVM+WDlA27T9NDlk
        +RPqgqFPA/m8spCBcTzTePYD3yFHDmE28Y4kZA6A+NxnLjjE/uWHYrKvfgOUz9BymPMan/RBJqcByceeJ9F2CAqf
        O/JcZizfI72bHYUgAZuUHHyZQ78kofr6+DEBK82jqLQjKAdVkN6ttkHNEjzaaNKX2UsI9A/iOeMI1HxXTi43Y56w
        +G9AJxei4oNEAz9hiegPBfN0z5imbfwl0QS0yZ83vQVEAwJy1sQnd7eCaCDg2cenczwr9oL4eYhZ2DFBxvHsQbff
        jQndE5WB3IDsr8hcMMJEXQ2hVeYIkg+95pKce/ZjlyrbMCYoja5OMT0e4poenGaODPkYjQV/P4RqG0buACsaMjTO
        VNLRlebghA95qspZDitoMH20a9y1JqDwIAqXAW4e4hGOOQ4cg4FapIziHRYwr+HQr/W2HEteJXQCtIo5kmRJPIzH
        LSD3gG1WiEXAMgh0r5UP4MzB5rlyzohRnI35MQIjs3lykvjWT8ZM37MFvD+YKuecE19jb1EMbB9m2xNHQcVIqqXe
        OmyHPV9RPteOOPIyB7Ykv6K0oqpHRq8MpKoYn/CMTJhmqa5aA9NcqcaGb9X8/Vj8FD5TOHQEwIczMzxDJjKzjGeQ
        5oa8XWewNHtElbB99w/xEstLgiNVx4FdzMR6LpC1oPdWGPHNSHgf6yak7YR0JCEdLiX/j6XUbZ+QplLaUgnppARI
        O6GVyhJGJcw5Bt78BRPSOiGdVrwVdfpeEjdbPoGMgzkJ6doCJo64VlXs+gpLTi9OoOJD/GACqSYdS6gzWNrWKm+N
        9+IcwWYVTz5emDxaCFCYsuOplHhKgsEq4Vl0jd+k7qmsFnGHgBx/Z8pC1v7ihGOOhkboxCGhVcn5ivMbJzy3kJez
        SuWafImVyQvnFsVhN0qATchXfr5VDA/iWG4pdHjtxp87eF95+LD1CydRnO7S+nOy+Qn9d0uBa9LJ9CcH3H8765xY
        aTb/WaTfzXIfjg9OzXjK9UfIPzWsmeC3ziOUW3K+KiW/vueUoSiBYy2LcSlUjKPYdqlaJeNzuYcPl1imrYxW8X5I
        0NBI7rHixl6GZxybx/eDqEYliFbjUsTKF6USREvl/LRYqZJEs34xhibSV4zmUmFYVPjTtb50DIC2ymufLZU8VujC
        7nOcUuw52/suyT/B5bygKdPpsYzEI8fUaFHPIn/Yo6U8UzFPpFgxOF1c0GvxAXHCQXLOr9ueDhUtJ+/bBJdPfRJG
        Q+nCtNvQwFRhtwYrXbutyzK3cuN6s7HPwYa5ifJrx9UvzxijjZMatfDd8qzmCBo3K6qrG3uPdqNGfkEONC81iits
        vmonsVrDeA1WzirgN9kwjsCoblSzc9k/oXGh7g8yaQGvVCiINSiGIIcxW4kgFrXwEdg+uVa8NUyJeD/CcWCmwBbm
        NNba0g2AtLH24Ly+yaFnIJE0q7HymgxafkH7BtwPHWeY7YNYDf2UHGRZQgar0VgDSz7h5Iun5JgLQUV57cKMSJLG
        448hLnU4CHJBIKcFdx/Ul8lBuxlc4OYij2wMKF+Zo4mrqVzBDB40US3N1Q86h4EDXJrLqJrmADg918/T3I+afHRb
        JWeYMkd49hnWWDUvi49om9Uj+8x6LdHOaQ3L1ic7UCUblkJKVdslO7tKBE3XqBqmNLDk31k7MqdmLcgaUq7N/qx+
        5UaUQ2JYuQIkB5SjYKr1dtborJYtGHt4mBqSlZNB/WHZzvT8d4Z6cRN5pz3bPOm3l9JL5feVLSvWzRvdxFL5/F9i
        FdxpvkIw7yBmL/EvOOIw6l/VpBLfJGj6fIm5FK7r7IhvDRm76V++qXGLR9CT/E68vH9/TiuY42j7/W4lNbltKfkv
        UM0biWxz54Jip4C/S2ZTR+UNgjpbxt9ILc1SynxIowpzTiRFrdn9ziPai9t5nWjrPXekoh3rcIxFqkrJOdl0aaH1
        i6Vjvxj+Y+jXkavWZMUVgCqe8tjr0KqsU+qX9H/pb8hUMz0OlfO/HSqLja4Wx8RJxV4c3ucnzpGt8nO/h/eKQUMH
        Hr7+J5GnnH4pjxD7WI8QfQzQcXJserK95y2qRqlVSeaohM9a8pE7DyzfFk2oOCYFO9zhyfTNQNMqfy5W4PIZixKP
        sD58Dt99irmqcKyBOdCZaF9n2aGO5MNg8q475bOWzwG5E7+/yg0lnQT+YaK5+zFlv/wIOnkpn5HM5sdd+xDs5WAs
        H3cdNkqab354FL9xDPLY/pg/CJdICz2Ykh8nO+JKvH463ycwnfxv4dLNR2mmY8O+Yfe7Lamq/yL3qwVBPj5IVhn8
        GcNotUne442z1czgbN4hNN6j1HZnNRuk6Sgof5jUUb1dXo8fcdWhaI/YtL1Krdzi7NzimHcoljVvVqzotsAEV6oV
        ni+RZi9wLT777HzAqWU27VsV+x17Q979S9OmSphhvwvCfg7TTKc0X87jmsQJ9DeWCFMi2Anw6u7fuSwldkEX17jH
        66biU+tfkJhijfqXP/0aZPx/O/f/S9t/aftfQhu/kR1ka3l5ebJ1U+WdyLH5L3clerrrqaNx/4NEj3f1zV3/Lna6
        5r8U/5fi/wMUNxeT4YPYT9H4G5R2r0+by/oe9K7iHV09ITtDPs9I3F7VkF1Siux4y8sLX9e/rd31L/Mx287bzbvg
        XKKbFHtx8g2LTTU1UbyPKhWlXETp4YOxoigYoAq8R6GWctelbeDlQm4G1pzJYOY6v8eoSFvxHvjm0fHaihOu6FZF
        X1OcIfIaUyXyRFHkZBni8qvmEtj7H6BaZavhWbtWxswHwT/tv+nqKnUHror9th/N6Y1LKbqRzxomcZBNqlIlUrXr
        K+bFqVvpVLWAuUMoqRrxP1qhHefIEr47plwF8cuUw8WK1VVq8l1q9zLqsQxld7GDih2jWav5BBYy8RioGziIxWfQ
        A9i418UGnr1vvl7BhwN4OgTt06M+0dCGRKMuJDp6OtGRZkSrsad/8iKiNexVsaoy0Yhrifaxx8OuNKIFdwAK0yEf
        W/qnrpB33T36g+hX/w2AfWehMYz7jDOJ1vM3eS8yjs1/gToB+Db2Otn7V+CpJLpkA5RJdz7g6IeJNHs3OXpfLz1t
        Ex1dwufxq25mnvcRzn/fhMMtl3P4egsO+13K4ddD5TT+wHlWkPrwae9bDZ9IpyNrj8fcvoc09VtoTqL5S+rX0XjP
        VxGMo/jnZOyIdZbJaUT06V1EC1dD5X3AXyTExDcA03HNWjytWo7nzffImcphzvicA6CZgwmxLCJNvJuP4J0fU+XL
        sVfvM16BmeKIFCZ6BQ/b75c50VQ+DjPqvap8fJciCBrLJIt7OWzahCa+LcA8ev0ecRTq9zEy9nwUlbmFZ3ane934
        trSRszt2VDvdfAtXWVxRLIGrLg1koxwG1RP8ASB+A7V89PAByF0LKVpqS99AAjtXrjWHVuyPs3cv2tu2JyqdyBYP
        hhT+gB8S8E3UuP/88HVUvqPD6jGeXdtQeQ/rNbBh9DDjFgRCRnwPqP6HokJStkCvOYynZw8bbrPXzqfo2HJ2SVoy
        3NSfavzIZvcGwPIeCFZzsKe7ufYXzFtjNN9nfBQ2jr0f/yj4wfPBrNBXTE1GioMdo8k/eEQXhg0Hv6c/iqBgmDnO
        /qQX2l880DhgPM8ivPVzVFvJX4fu6W8GaCh7Q+7m4FYZqrOBCI0P5l63Aqs4zn+c/a5GI+gR/8hLy5eLtcWHqIKM
        /LXyGJThyjRc5MHDgLDH6CH23Rr/BILucuG6iAzP5zET/QL+VyIwib9hl86DXLWuiPIF0Af8tPppczvzyzMB++YM
        BDNBx0eg6BOeqnufQfDIbHMv9eY/C1c2YJazP+tkrIXTeUE5PCj+TeY/+B+UoC3PAs/Xn4IrW9ld7AsmSAsv1s1B
        yWIOPkLmTmTuep5dY9mxlenmyXaY3QwZZCgHvV9i5zNm7qAFeHzyeQQD+fG1l829z03NK56XkN8T0+Zj6Lb3F/Ek
        5Jn43dKYiAdL/8fm019MkTskkS3zct4SQLzDYAe1vFb6Rhz8VpuLTUewQ+GcV2LmtHTLUuOeN5Rjdvc6Q6SrP8vW
        jjVmtCMixnvfBjOWvoXgZXbRHcwYJrzG3WG9Yb7s3LuW+8gBhmTZesRLQMFz683Hs4vfYU89Dj54x8jahA1m9OqK
        SLCv2kec8ygP+9TNLO0fIpjxEYJX+PHjuRDU8bMRTC6IyQey7DE4dHmKTKmN/L3T0c9jMn8vEvl6akfMf6eCyTGJ
        PTmn8jD154BPmYesRd3xewD1TzOz32Z3wj7vIfeJr5Hbjw9zUfXLA4gXsnsnO3hP3m4+f4Va2MTu2xuM4trH/m7v
        b0PZ+gIg+PePMZGuV5iv875AzocMsI2/hx7GEhQSOR00gP9Jjn4IXuHMQV+SnGezJpvEToc7fkgR+f6Q4/yjCBYP
        BnC/oQjeZsfqNeZL45nDk41PY29ODHsMwZ4RCD5m9T98CVKLvvZ8/vZwooDdDh/hGb39uRQRqVd4fcVcf351VAif
        jyH9bBa71vLMlFvGIVcsz0vJ/wDzUqJZk4D7GQ7uMh8G86dpw73PjC83Ds59Ab3bVIJ6nj/J8wd/ml9gTIAeHvSj
        KYQW2LEIha+/yH2YjmD89FSZihOfQrwCIG8+g8QaVtVZvhMgD1xb876B3eKVebvTxyiPj/qwP2Q/JSvFUI7X9jeW
        Wr+FwP/EgmTRwW+zo+OAgQiOrGPn+6Fp5gPqt9akClPmDeWXFmTcK0dCrKctT+bZmCwr2nwy4rGXPzR4bzOK9/GX
        85XEvN78JZLD+Zl9aedvSha6nn2Ph8RcBLJoI9JPcrAI3Vli1vEXUPa9IxuSNZ+g6KMPEHw5ByUrefnL57xJQ0Da
        oue4xyyTW/kbvZU7UMDfNbw/wXzW/i6/BnqXP5qf8yRyXpuexi84kkVmYcaMOZjMao9b4DsBvnpBmY/cm4p/7Sds
        SKxcjCov5QPXZtt4+360TIlUHljODB2MkqffAsyYdQgeBQwz/emhPAtWsR85+8SGhc/mA9/zweuxKfMrLeM7FvOT
        /nuh8W9/obEtjms/fY2xo1qVKSnfPpbm/zWXFldVVxS5sbiSuq3Sce8hVmspuch1gyov04vLGub93SOql+Pt75Y7
        1vFvH1YHnXMM6G0phXcP26pDmSK3DavZpBJl5fd317DaSt69im09yl5X3sWXR13zHlM9HZCi9Updi5z1EXAsWPLV
        v6qdVV7dECvx5l9VHWXVYsUv/nXEJduK1Vd9/g/e6/uUUgsDI6PFL/QdQ2ok+/SUeH/vKFIzvAt6DyuV7x51/Kt3
        z1UjKf/ErtxVwZrd1CH+ZKSEC3eVCyFw6r5mq9GhCaEtZdSyeid+/e1iR3Xv/BO3tao1dJ1JrFJJJ3RZq9qsrvJI
        9dw9x+o/FeVsn8BlpmRVQP2sq1rVG3SNSbzqj2YpV7WqEQ+0Nm2+98CfT8lVrVBGVxYlarZ8SpzQ8e+0ddxbWtU6
        n6hHHvxzibe0qrW6WeHtzxz3uM9LjH/Q+o+uaFUF+krv7Ctm4qfs0G9xQatSg2zHUT/YRS9nVSviSt5vLq3IDarq
        8P3eXFjsJ8iP07w4YuJF97sm8ULXliXexgrx1sdvbNwDHu5PusaOew0rUP0E3XN9VB/c9xN0wzqVeJRTrI0DdvKJ
        1XzG6XBi162qCXfWKiq18o+rSY/vvMaA7C4VZLoPsqAoiFbf3lndlPTpUqzkFb9kfaloh3fx0E7u8jOIm+NjWVIq
        lq99LD2OobKLT2Xxkr5+ychS0Cr1fperldrRpZbn7snZT/jEzC6VmD0+yNHjgPQkXrML1XuS92ObZXfnASd2ZUGp
        v6rWz6t/48+s/0OXh825/dEu3OUjXfgKAfQuDN014C5M5n/f9bB/06fiqzwd9XYEZaMfQtl3XeTiAaXSkDOBoT+9
        q793nRXf+qnW4dHbNDD2gXd5V6FWDdiqSi8y3b8hfj+qVmvuthLg9/nwSWg7vWb8DlKxfy54oJCuQG0AR2o5asZD
        3OxnXUR/w9IHXZuYrmfuZroyDF0TtFr7QLkTvaGxgmpo/V7uYvykvJrV9Fe6MSyM5RWGYEXrN7sibNxSrRYedVfk
        B36md+HnmW3lkPKUvdfpTBuxz88IUopLSY2pZibVr0BNQ5SGnAyqXYE2wrB+Qovn2QQkRyE5zrhOPqa1HE4dMidB
        j3glrvL+Uabx2qZZJsPVNMXgWKDZ9ZJjTU97sXmD+IwB4HvwnkXNYG26JI34AofLa9DLgDkCoAHsf5VJ+fwe5+0Z
        7NPJn9Y/jYX4VX7ia8seNX69/Ul5/zYg/01WtNI2rlsh0JvGV0yfJKNKdD6rSRVDCc2U9gd2is/fj+Q7uM3UcXyJ
        iMW17JqTIuGk/nKp+vEptfkFb+FjmP+RQ/uU/lXW/A/PFckMUAztQuDwF+N/1S94ahvV/NrqV/VkX5NJB8bTr9yo
        4nfhSe841Oc7/f/ZdwODPyk+M8am0gdJvy1ZcTfWTzQtbfMXWvigEcf5Nk0I/YE6H8mgjXV/V4zMZfq+ZDf5qZ2J
        frxD04bpcT36/Axz9N1W/l3IFTOgdN0Q7ZphxLzHU3SqNcUp+IPiVfxPwYbX7ica95n++RixJp4gZD9+4fqTGvbU
        /kUoUxK9Z/C9GDOKlDn8L+m+OcLRtHGEcwKE9H7MESeZsLy0AetuJ/7nueoTfcVfVbwUK6Uelq8p/OXGaIjQgRme
        fnfZs8iuRC0HLiTavve3EW9Y8I/+eq2NN1f3nrRNcVLAJvPLKPWr+PvUzbvL0rhGv2gL3Z+G9tnwy/Zi0jdEq3f+
        Gqvq/wOTvYEd
""";
    }
}
