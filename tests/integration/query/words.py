"""Words and forms of 30 scripts and languages: what a file with the one is found by.

A line: a name, `=` and what finds it, separated by `|`; after `!` what does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_TABLE: dict[str, str] = {
    "English": """
        Quarterly reports.pdf = report | REPORTS | reported | quarter | QUARTERLY | rep ! port
        signed invoices = signing | invoice | Invoiced | sign
        companies house = company | COMPANIES | houses
        running late = run | runs | RUNNING ! unning
        naïve café menu = naive | cafe | NAÏVE | CAFÉ | cafes ! nave
        résumé of coöperation = resume | cooperation | RÉSUMÉ | cooperate
        don't panic = panic | don | PANICS
    """,
    "Russian": """
        Ёлочные игрушки = елочные | ёлочная | игрушка | ИГРУШКАМИ | ЁЛОЧНЫЕ ! лочные
        договора аренды = договор | ДОГОВОРАМИ | аренда | арендой | догов
        Отчёт за квартал = отчет | ОТЧЁТА | отчеты | кварталы | квартала
        подписанные документы = документ | документами | подписанный | ДОКУМЕНТОВ
        Ещё один счёт = еще | ЕЩЁ | счет | счёта | СЧЕТ
        мой йогурт = мой | ЙОГУРТ | йогурта ! мои
        Бухгалтерия = бухгалтерией | БУХГАЛТЕРИИ | бухг
    """,
    "Ukrainian": """
        Київ їжак = київ | КИЇВ | їжак | ЇЖА
        Ґанок об'єкт = ґанок | ҐАНОК | єкт
        звіт за вересень = звіт | ВЕРЕСЕНЬ | верес
    """,
    "Bulgarian, Serbian, Macedonian": """
        Годишен отчет = годишен | ОТЧЕТ | отч
        Љубљана ћирилица = љубљана | ЋИРИЛИЦА | љуб
        ѓердан ќе дојде = ѓердан | ЌЕ | дојде
    """,
    "Kazakh, Tatar, Mongolian": """
        Қазақстан әліпби = қазақстан | ӘЛІПБИ | қаз
        җиләк өй = җиләк | ӨЙ
        Өргөө байгууллага = өргөө | БАЙГУУЛЛАГА
    """,
    "German": """
        Straße Müller.doc = strasse | STRASSE | straße | Muller | MÜLLER | mull
        Übergröße ÄRZTE = übergröße | ubergrosse | ärzte | ARZTE | ÜBERGRÖSSE
        Maßnahmen = massnahmen | MASSNAHMEN | maß | MASS
    """,
    "French": """
        Élève français œuvre = eleve | FRANÇAIS | francais | oeuvre | ŒUVRE | élè
        Noël à l'hôtel = noel | HOTEL | hôtel | NOËL
        garçon déjà vu = garcon | DEJA | déjà | GARÇON
    """,
    "Spanish, Portuguese, Catalan": """
        Año nuevo español = ano | AÑO | espanol | ESPAÑOL | nuevo
        Informação não = informacao | NÃO | INFORMAÇÃO | nao
        col·lecció il·lusió = col | COL | lusio ! ilusio
    """,
    "Italian, Romanian": """
        Perché città = perche | CITTÀ | citta | PERCHÉ
        Înștiințare țară = instiintare | ȚARĂ | tara | ÎNȘTIINȚARE
    """,
    "Polish": """
        Żółć gęślą jaźń = zolc | GĘŚLĄ | gesla | jazn | ŻÓŁĆ | ŻÓŁ
        Łódź sprawozdanie = lodz | ŁÓDŹ | sprawozdanie | SPRAW
    """,
    "Czech, Slovak, Slovene, Croatian": """
        Příliš žluťoučký kůň = prilis | ŽLUŤOUČKÝ | zlutoucky | kun | KŮŇ
        Ľúbostný dážď = lubostny | DÁŽĎ | dazd
        Đorđe čevapčići = dorde | ĐORĐE | cevapcici | ČEVAP
    """,
    "Hungarian": """
        Árvíztűrő tükörfúrógép = arvizturo | TÜKÖRFÚRÓGÉP | tukorfuro | ÁRVÍZ
        Őszi szünet = oszi | ŐSZI | szunet
    """,
    "Turkish, Azerbaijani": """
        İstanbul ışık = istanbul | ISTANBUL | İSTANBUL | isik | ışık | İST
        DİYARBAKIR ğöşç = diyarbakır | diyarbakir | gosc | ĞÖŞÇ
        Azərbaycan məktəb = azərbaycan | AZƏRBAYCAN | məkt
    """,
    "Scandinavian, Icelandic": """
        Ærø smørrebrød = aero | SMØRREBRØD | smorrebrod | ærø
        Ångström överföring = angstrom | ÖVERFÖRING | overforing | ÅNG
        Þjóð ísland = þjóð | ÍSLAND | island | ÞJÓÐ
    """,
    "Baltic, Finnish, Estonian": """
        Ąžuolas žąsis = azuolas | ŽĄSIS | zasis
        Ģimene šķūnis = gimene | ŠĶŪNIS | skunis
        Hääyöaie = haayoaie | HÄÄYÖAIE | hää
    """,
    "Vietnamese": """
        Tiếng Việt đường phố = tieng | VIỆT | viet | duong | ĐƯỜNG | pho
        hợp đồng thuê nhà = hop | đồng | DONG | thue | HỢP
    """,
    "Greek": """
        Σίσυφος ΑΘΗΝΑ = σίσυφος | ΣΊΣΥΦΟΣ | σισυφος | αθήνα | Αθηνα | σισυφ
        Ὀδυσσεύς ᾠδή = οδυσσευς | ΟΔΥΣΣΕΥΣ | ωιδη | Ὀδυσσ
        οδός Ερμού = οδος | ΟΔΌΣ | ερμου | ΕΡΜΟΎ | οδοσ
        προϋπολογισμός = προυπολογισμος | ΠΡΟΫΠΟΛΟΓΙΣΜΌΣ | προϋπ
    """,
    "Armenian, Georgian": """
        Հայաստան պայմանագիր = հայաստան | ՀԱՅԱՍՏԱՆ | պայման
        Երևան և Սևան = երևան | ԵՐԵՎԱՆ | ԵՐԵՒԱՆ | սեվան | ԵՎ | ՍԵՎ ! վան
        ԵՐԵՎԱՆ 2 = երևան | Երևան | երև
        საქართველო ხელშეკრულება = საქართველო | ხელშეკ
    """,
    "Hebrew": """
        שָׁלוֹם עוֹלָם.txt = שלום | שָׁלוֹם | עולם | שלו
        חוזה שכירות = חוזה | שכירות | שכי ! וזה
    """,
    "Arabic": """
        مَرْحَبًا بِالعَالَم = مرحبا | مَرْحَبًا | بالعالم | مرح
        أحمد إبراهيم = احمد | أحمد | ابراهيم | إبراهيم
        عـــقد إيجار = عقد | ايجار | إيجار
        مدرسة كبرى = مدرسه | مدرسة | كبري
    """,
    "Persian, Urdu": """
        قرارداد می‌خواهم = قرارداد | میخواهم | می‌خواهم | قرار
        کتاب فارسی = کتاب | كتاب | فارسي | فارسی
        معاہدہ اردو = معاہدہ | اردو
    """,
    "Hindi, Marathi, Nepali": """
        हिन्दी दस्तावेज़.pdf = हिन्दी | दस्तावेज़ | दस्तावेज | हिन् ! न्दी
        अनुबंध पत्र = अनुबंध | पत्र | अनु
        मराठी करार = मराठी | करार
    """,
    "Bengali, Assamese": """
        বাংলা চুক্তিপত্র = বাংলা | চুক্তিপত্র | চুক্তি
        প্রতিবেদন = প্রতিবেদন | প্রতি
    """,
    "Tamil, Telugu, Kannada, Malayalam": """
        தமிழ் ஆவணம் = தமிழ் | ஆவணம் | ஆவ
        తెలుగు పత్రం = తెలుగు | పత్రం | పత్
        ಕನ್ನಡ ದಾಖಲೆ = ಕನ್ನಡ | ದಾಖಲೆ
        മലയാളം രേഖ = മലയാളം | രേഖ | മലയാ
    """,
    "letters that were written with a joiner": """
        അവൻ വാർഷിക = അവന്\u200d | അവൻ | വാര്\u200dഷിക | വാർഷിക | വാര്ഷിക
        അവന്\u200d വാര്\u200dഷിക കണ്\u200d = അവൻ | വാർഷിക | കൺ | വാർ
        উৎসব হঠাৎ = উত্\u200dসব | উৎসব | হঠাৎ | হঠাত্\u200d
        ऱ्हस्व = र्\u200dहस्व | ऱ्हस्व | र्हस्व
    """,
    "Syriac, Samaritan, Mandaic": """
        ܫܠܳܡܳܐ ܒܪܰܬ݂ = ܫܠܡܐ | ܫܠܳܡܳܐ | ܒܪܬ | ܫܠ
        ܫܠܡܐ = ܫܠܳܡܳܐ | ܫܠܡ
        ࠔࠋࠌ࠙ = ࠔࠋࠌ
        ߞߊ߲߬ = ߞߊ | ߞߊ߲߬
    """,
    "Gujarati, Punjabi, Sinhala": """
        ગુજરાતી દસ્તાવેજ = ગુજરાતી | દસ્તાવેજ
        ਪੰਜਾਬੀ ਦਸਤਾਵੇਜ਼ = ਪੰਜਾਬੀ | ਦਸਤਾਵੇਜ਼ | ਦਸਤਾਵੇਜ
        සිංහල ලේඛනය = සිංහල | ලේඛනය
    """,
    "Thai": """
        ไฟล์เอกสารสำคัญ.pdf = เอกสาร | สำคัญ | ไฟล์ | ไฟล์เอกสาร ! คนสำ
        สัญญาเช่าบ้าน = สัญญา | เช่า | บ้าน | เช่าบ้าน
    """,
    "Lao, Khmer, Burmese, Tibetan": """
        ເອກະສານສັນຍາ = ເອກະສານ | ສັນຍາ
        ឯកសារកិច្ចសន្យា = ឯកសារ | កិច្ចសន្យា
        စာချုပ်စာတမ်း = စာချုပ် | စာတမ်း
        བོད་ཡིག = བོད | ཡིག
    """,
    "Chinese": """
        北京市房屋租赁合同.docx = 北京 | 租赁 | 合同 | 房屋租赁合同 | 北京市 | 京 | 同 ! 同北
        2024年3月报告.pdf = 3月 | 年3月 | 2024年 | 3月报 | 2024年3月 ! 4月 | 3年 | 2024月
        用户A的文件 = A的 | 户A | 文件 ! A文
        iphone only = iphone | iph ! iphone用
        12 unrelated = 12 | unrelated ! 12월 | 12月
        季度報告2024最終版 = 報告 | 2024 | 最終 | 季度報告 | 版
    """,
    "Japanese": """
        東京都庁の報告書.pdf = 東京 | 京都 | 都庁 | 報告書 | 庁 | の報告 ! 庁報
        カタカナ・ひらがな = カタカナ | ひらがな | タカ | らが
        ｶﾀｶﾅ資料 = カタカナ | 資料
        旅行ｶﾞｲﾄﾞ資料 = ガイド | ガイド資料 | ｶﾞｲﾄﾞ | 旅行ガイド ! 行資
        令和5年度予算 = 5年 | 令和5年度 | 年度 | 和5 ! 令和年 | 6年
        第3回会議 = 3回 | 第3回 | 回会
        A4用紙の箱 = 4用 | A4用紙 | A4 | 用紙 ! 4紙
        データベース設計書v2 = データベース | 設計書 | v2 | ベース
    """,
    "Korean": """
        보고서를 제출 = 보고서 | 보고서를 | 제출 | 고서
        3월보고서 = 3월 | 보고서 ! 13월
        임대차계약서 = 계약서 | 임대차 | 계약
    """,
    "Ethiopic, Cherokee, Mongolian, N’Ko": """
        የኪራይ ውል = የኪራይ | ውል
        ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ = ᏣᎳᎩ | ᎦᏬᏂ
        ᠮᠣᠩᠭᠣᠯ = ᠮᠣᠩᠭᠣᠯ
        ߒߞߏ = ߒߞߏ
    """,
    "names of programs": """
        QuarterlyBudgetFinal.xlsx = quarterly | Budget | FINAL | quarterlybudgetfinal | BudgetFinal
        INV20240017.pdf = inv | 20240017 | INV20240017 | 2024 | inv2024
        HTTPServerConfig = http | server | config | HttpServer
        backup-2024.tar.gz = tar.gz | TAR | gz | backup | backup.tar
        snake_case_name v2.10 = snake | case | name | v2 | 10
        SalesQ3.xlsx = Q3 | q3 | sales | SalesQ3 | salesq ! Q4 | s3
        Sales Q3.xlsx = SalesQ3 | Q3
        QBudgetFinal = BudgetFin | budgetf | FinalBudget | BudgetF ! BudFinal | BudgetX
        FY24Q3Sales = Q3 | Q3Sales | FY24 | 24q3
        x1y2z3 ver1a ЗаказN5 = y2 | z3 | 1a | N5 | x1y2 | заказ ! y3 | N6
        IMG_20240131_v2.png = img2024 | 2024 | v2 ! 2024img
        Vertrag 2024 = 2024 | Vertrag2024 | Vertrag20 ! v2 | Ver202 | 2024年3月
        fab report.txt = fab | reports ! 7e3fab | 2e5report | 12e4fab
        iPhone15Pro_IMG_0042.JPG = iphone | phone | 15 | pro | 0042 | img
        ОтчётЗаМарт2024 = отчет | март | 2024 | Отчёт | МАРТ
    """,
    "what is not seen": """
        co\u00adoperate = cooperate | co\u00adoperate | COOPERATE | coop
        zero\u200bwidth\ufeff = zerowidth | zero\u200bwidth | ZEROWIDTH
        \u202eright to left\u202c = right | left
        Ａｂｃ１２３ = abc123 | abc | 123 | Ａｂｃ
        ﬁle ﬂow = file | flow | ﬁle | FILE
        x² Ⅷ ① = x2 | viii | 1 | x²
    """,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Named:
    """A name, what finds it, and what does not."""

    language: str
    name: str
    found_by: tuple[str, ...]
    not_by: tuple[str, ...]


def names() -> Iterator[Named]:
    """All lines of the table."""
    for language, lines in _TABLE.items():
        for line in filter(None, map(str.strip, lines.strip().split("\n"))):
            name, _, rest = line.partition(" = ")
            found, _, missed = rest.partition(" ! ")
            yield Named(
                language,
                name,
                tuple(map(str.strip, found.split("|"))),
                tuple(filter(None, map(str.strip, missed.split("|")))),
            )
